(class_declaration name: (identifier) @class)
(interface_declaration name: (identifier) @type)
(method_declaration name: (identifier) @method)
(function_definition name: (identifier) @function)

(method_invocation name: (identifier) @ref)
(object_creation_expression type: (type_identifier) @ref)
(superclass (type_identifier) @ref)
