(class_definition name: (identifier) @class)
(mixin_declaration (identifier) @class)
(extension_declaration name: (identifier) @class)
(enum_declaration name: (identifier) @type)
(type_alias (type_identifier) @type)
(function_signature name: (identifier) @function)
(method_signature (function_signature name: (identifier) @method))
(getter_signature name: (identifier) @method)
(constructor_signature name: (identifier) @method)

(_ (identifier) @ref . (selector (argument_part)))
(unconditional_assignable_selector (identifier) @ref)
(type_identifier) @ref
