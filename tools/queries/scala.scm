(class_definition name: (identifier) @class)
(object_definition name: (identifier) @class)
(trait_definition name: (identifier) @type)
(enum_definition name: (identifier) @type)
(type_definition name: (type_identifier) @type)
(function_definition name: (identifier) @function)
(function_declaration name: (identifier) @function)
(template_body (function_definition name: (identifier) @method))
(template_body (function_declaration name: (identifier) @method))

(call_expression function: (identifier) @ref)
(field_expression field: (identifier) @ref)
(type_identifier) @ref
