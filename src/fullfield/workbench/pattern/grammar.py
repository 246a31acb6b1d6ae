"""The grammar of patterns, in Lark's notation (LALR). Case, blanks and line ends have no meaning."""

GRAMMAR = r"""
start: item (_ARROW item)*

?item: (layer | group) repeat?                  -> item
layer: NAME arguments?                          -> layer
     | NAME arguments? _OPTIONAL presence?      -> optional_layer
     | NAME _OPTIONAL arguments                 -> optional_layer
group: _OPEN item (_ARROW item)* _CLOSE         -> group
     | _OPEN item (_ARROW item)* _CLOSE _OPTIONAL presence? -> optional_group

repeat: _TIMES NUMBER
      | _TIMES _LPAR NUMBER (_BAR NUMBER)* _RPAR

// yes or no, one for every round of a repeat
presence: _LPAR YESNO (_BAR YESNO)* _RPAR

arguments: _LPAR [argument (_COMMA argument)*] _RPAR
argument: plain (_BAR plain)*                   -> positional
        | NAME _EQUALS value (_BAR value)*      -> keyword
?plain: NUMBER | DIMS | NAME
?value: plain | YESNO

_ARROW: "->" | "→"
_OPEN: "["
_CLOSE: "]"
_LPAR: "("
_RPAR: ")"
_TIMES: "*"
_OPTIONAL: "?"
_BAR: "|"
_COMMA: ","
_EQUALS: "="
DIMS.3: /\d+(\s*[x×]\s*\d+)+(?![a-z0-9_.])/i
NUMBER.2: /[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?/i
YESNO.2: /(yes|no|on|off|true|false)(?![a-z0-9_])/i
NAME: /[a-z_][a-z0-9_]*/i

COMMENT: /#[^\n]*/
%ignore /\s+/
%ignore COMMENT
"""

# Terminals in words, for "expected ...".
SPOKEN = {
    "$END": "the end of the pattern",
    "_ARROW": "'->'",
    "_OPEN": "'['",
    "_CLOSE": "']'",
    "_LPAR": "'('",
    "_RPAR": "')'",
    "_TIMES": "'*'",
    "_OPTIONAL": "'?'",
    "_BAR": "'|'",
    "_COMMA": "','",
    "_EQUALS": "'='",
    "NUMBER": "a number",
    "DIMS": "sizes such as 3x5",
    "YESNO": "yes or no",
    "NAME": "a name",
}
