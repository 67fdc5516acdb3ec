(class_interface . (identifier) @class)
(class_implementation . (identifier) @class)
(protocol_declaration . (identifier) @type)
(method_declaration (method_type) . (identifier) @method)
(method_definition (method_type) . (identifier) @method)
(function_declarator declarator: (identifier) @function)

(message_expression method: (identifier) @ref)
(call_expression function: (identifier) @ref)
(class_interface superclass: (identifier) @ref)
(type_identifier) @ref
