(moduleName (identifier) @module)
(declType name: (identifier) @type)
(declType name: (identifier) @class type: (declClass))
(declProc name: (identifier) @function)

(exprCall entity: (identifier) @ref)
(exprDot rhs: (identifier) @ref)
(typeref (identifier) @ref)
