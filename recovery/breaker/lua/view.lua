-- Tells how a breaker stands. Keys and ARGV[1..2]: see circuit.lua. The answer's last element: 1 if anybody ever used it.
local circuit = load()
return answer(circuit, circuit.known and 1 or 0)
