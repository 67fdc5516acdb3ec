(class_declaration name: (identifier) @class)
(record_declaration name: (identifier) @class)
(interface_declaration name: (identifier) @type)
(enum_declaration name: (identifier) @type)
(annotation_type_declaration name: (identifier) @type)
(method_declaration name: (identifier) @method)
(constructor_declaration name: (identifier) @method)

(method_invocation name: (identifier) @ref)
(type_identifier) @ref
(marker_annotation name: (identifier) @ref)
(annotation name: (identifier) @ref)
(import_declaration (scoped_identifier name: (identifier) @ref))
(method_invocation object: (identifier) @ref)
