-- Lets probes through before the reset timeout; a closed breaker stays closed. Keys and ARGV[1..2]: see circuit.lua.
local circuit = load()
if circuit.state == 'open' then
  half_open(circuit)
  save(circuit)
  announce(circuit)
end
return answer(circuit)
