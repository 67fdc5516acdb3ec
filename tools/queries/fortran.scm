(module_statement (name) @module)
(program_statement (name) @module)
(subroutine_statement name: (name) @function)
(function_statement name: (name) @function)
(derived_type_statement (type_name) @type)

(subroutine_call subroutine: (identifier) @ref)
(call_expression (identifier) @ref)
(use_statement (module_name) @ref)
