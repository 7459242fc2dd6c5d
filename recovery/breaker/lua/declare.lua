-- Makes a breaker known and keeps its options. Keys and ARGV[1..5]: see circuit.lua.
if not circuit.known then note(now, 'the option `mode`') end
return answer()
