(function_definition name: (word) @function)
(program (variable_assignment name: (variable_name) @constant))

(command name: (command_name (word) @ref))
