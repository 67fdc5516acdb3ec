(function_declaration name: (identifier) @function)
(variable_declaration (identifier) @class (struct_declaration))
(variable_declaration (identifier) @type (enum_declaration))
(struct_declaration (function_declaration name: (identifier) @method))

(call_expression function: (identifier) @ref)
(field_expression member: (identifier) @ref)
(parameter type: (identifier) @ref)
