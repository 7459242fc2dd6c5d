-- Makes a breaker known and stores its options. Keys and ARGV[1..2]: see circuit.lua.
local circuit = load()
options()
if not circuit.known then save(circuit) end
return answer(circuit)
