(call target: (identifier) @_word (arguments . (alias) @module) (#eq? @_word "defmodule"))
(call
  target: (identifier) @_word
  (arguments . [(identifier) @function (call target: (identifier) @function)])
  (#any-of? @_word "def" "defp" "defmacro" "defmacrop"))

(call target: (identifier) @ref)
(call target: (dot right: (identifier) @ref))
(alias) @ref
