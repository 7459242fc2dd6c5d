-- Does what an operator says. Keys and ARGV[1..5]: see circuit.lua.
-- ARGV[6]  auto | metrics_only | disabled | forced_open, or `reset`: mode auto, and closed at once
-- ARGV[7]  why
-- ARGV[8]  ms from now after which the mode is `auto` again, '' for never
-- ARGV[9]  1 to do nothing while a mode is in force that somebody else has set
local mode, mine = ARGV[6] == 'reset' and 'auto' or ARGV[6], circuit.mode_by == ARGV[5]
-- Before orders bore a name, who leaves others' alone only forced open: that may be theirs, and they may end it.
local nameless = circuit.mode_by == '' and circuit.mode == 'forced_open'
if ARGV[9] == '1' and circuit.mode ~= 'auto' and not mine and not (nameless and mode == 'auto') then return answer() end
local afresh = ARGV[6] == 'reset' or (mode == 'auto' and circuit.mode ~= 'auto') -- what it counted is old by then
if mode == 'auto' then
  order(mode, now, nil, '', '')
else
  order(mode, now, ARGV[8] ~= '' and now + ARGV[8] or nil, ARGV[5], ARGV[7])
end
if afresh then close(now, ARGV[7]) else note(now, ARGV[7]) end
return answer()
