-- acknowledge: move a reader of the stream of ended jobs, if it is where the caller
-- saw it.
-- KEYS cursors moved ended   ARGV reader from to mark
if passed(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3], ARGV[4]) then return 1 end
return 0
