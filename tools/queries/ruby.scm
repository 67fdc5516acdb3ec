(module name: (constant) @module)
(class name: (constant) @class)
(method name: (_) @method)
(singleton_method name: (_) @method)
(assignment left: (constant) @constant)

(call method: (identifier) @ref)
(constant) @ref
