-- Brings a process and the fleet together after Redis was away. Keys and ARGV[1..5]: see circuit.lua.
-- ARGV[6]       the last failure, in one sentence
-- ARGV[7]       why the process opened the breaker alone meanwhile, '' if it did not
-- ARGV[8]       the newest version of the breaker that it had heard of, 0 for none; ARGV[9..15] are what it had heard:
-- ARGV[9..12]   state, ms until callers may probe (from now), streak, trips
-- ARGV[13]      why it was open
-- ARGV[14..18]  the mode that somebody had set, the ms when, '' for never, the ms when it ends, '' for never, who set it, and why
-- ARGV[19..]    batches of calls that the fleet did not hear of, see `take` in window.lua
-- After the breaker: 1 if this opened it.
local version, state, trips, mode_at = tonumber(ARGV[8]), ARGV[9], tonumber(ARGV[12]), tonumber(ARGV[15])
local older = tonumber(circuit.version) < version -- a copy that had lagged behind was promoted
local emptied = circuit.trips < trips
local ordered = (circuit.mode_at or 0) > (mode_at or 0) -- somebody has spoken since: what the process remembers is older

if older or emptied then
  circuit.version = whole(math.max(version, tonumber(circuit.version)))
  circuit.trips, circuit.push = math.max(circuit.trips, trips), true
  if state ~= 'closed' and not ordered then -- what was half-open is open again, and may be probed at once
    circuit.state, circuit.successes, circuit.stage, circuit.stage_until = 'open', 0, 0, nil
    circuit.opened_at, circuit.retry_at = circuit.opened_at or now, now + ARGV[10]
    circuit.streak, circuit.reason = tonumber(ARGV[11]), ARGV[13]
  elseif older and circuit.state ~= 'closed' and not ordered then
    circuit.shown = shown(now)
    close(now, 'it had been closed before an older copy of Redis was promoted')
  end
end
if mode_at and mode_at > (circuit.mode_at or 0) then
  order(ARGV[14], mode_at, tonumber(ARGV[16]), ARGV[17], ARGV[18])
  circuit.shown, circuit.push = shown(now), true
  obey()
end
if circuit.push then circuit.shown = shown(now) end -- the history has all this from before

if ARGV[7] ~= '' then
  if circuit.trips > trips then return answer(0) end -- the fleet had this opening, and these failures, from another process
  if circuit.state == 'closed' and mode_in_force() == 'auto' and chosen.quorum == 1 then
    open(ARGV[7])
    return answer(1)
  end
end
circuit.dirty = circuit.dirty or not circuit.known
return answer(take(19, ARGV[6]))
