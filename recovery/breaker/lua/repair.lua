-- Marks that a recovery of the breaker's service is at work, so that callers wait for it with their probes.
-- Keys and ARGV[1..5]: see circuit.lua.
-- ARGV[6]  ms from now for which the mark stands unless it is renewed; 0 takes it away
if ARGV[6] == '0' then
  if circuit.repairing_until then
    circuit.repairing_until = nil
    note(now, 'the recovery is over')
  end
elseif circuit.known then
  circuit.repairing_until, circuit.dirty = now + ARGV[6], true
  if circuit.shown ~= shown(now) then note(now, 'a recovery is at work') end -- a renewal reaches the callers when they look
end
return answer()
