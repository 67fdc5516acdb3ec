(class_declaration name: (identifier) @class)
(object_declaration name: (identifier) @class)
(function_declaration name: (identifier) @function)
(class_body (function_declaration name: (identifier) @method))
(type_alias type: (identifier) @type)

(call_expression (identifier) @ref)
(navigation_expression (identifier) @ref .)
(user_type (identifier) @ref)
