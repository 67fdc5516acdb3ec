(data_type name: (name) @type)
(newtype name: (name) @type)
(type_synonym name: (name) @type)
(class name: (name) @class)
(class_declarations (signature name: (variable) @method))
(declarations (signature name: (variable) @function))

(apply function: (variable) @ref)
(infix (variable) @ref)
(apply argument: (variable) @ref)
(constructor) @ref
(name) @ref
