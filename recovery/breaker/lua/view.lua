-- Tells how a breaker stands. Keys and ARGV[1..5]: see circuit.lua. After the breaker: 1 if anybody ever used it.
trim()
return answer(circuit.known and 1 or 0)
