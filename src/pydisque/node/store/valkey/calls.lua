-- Part of the library that begins in rules.lua: what a call does before and after its verbs.

-- Begin and end of a call

local function begin(keys, args)
  call, floor, max, min = redis.call, math.floor, math.max, math.min
  pack, unpack_ = struct.pack, struct.unpack
  T, argv, queues, known, later, anyone = string.sub(keys[1], 1, -7), args, {}, {}, {}, nil
  local time = call("TIME")
  now = time[1] * 1000 + floor(time[2] / 1000)
  local state = call("HMGET", keys[1], "layout", "seq", "due", "big")
  if not state[1] then
    call("HSET", keys[1], "layout", LAYOUT)
  elseif tonumber(state[1]) ~= LAYOUT then
    return redis.error_reply("LAYOUT what is kept has layout " .. state[1] .. " by now, and this node knows only "
      .. LAYOUT .. ": upgrade it")
  end
  seq, due = max(tonumber(state[2] or 0), (now - EPOCH) * 1024), tonumber(state[3] or LATEST)
  big = tonumber(state[4] or HEAVY)
  work_off()
end

local function finish(keys, before)
  local kept = {}
  write_timer()
  for _, q in ipairs(queues) do
    if q.fresh > 0 and not flagged(q, PAUSED_OUT) then wake(q) end
    if q.dirty and not q.gone then
      kept[#kept + 1] = q.name
      kept[#kept + 1] = pack(">ddddB", q.ctime, q.atime, q.into, q.out, q.flags)
      if not q.there then
        remind("q" .. q.name, now + IDLE)
        grow(#q.name)
      end
    end
  end
  many("HSET", T .. ":queues", kept)
  local told = low < due or due <= now
  if told then
    call("SPUBLISH", T .. ":due", string.format("%.0f", low))
    call("HSET", keys[1], "due", string.format("%.0f", low))
  end
  if seq ~= before then call("HSET", keys[1], "seq", string.format("%.0f", seq)) end
end

-- KEYS as above; ARGV: the node, the room for what is read, 1 if the node knows that its last call ended early, and
-- verb, number, arguments of each, and so on. The time, when it is time to come again, `big`, and the answers, a list
-- of them or true for each `add` and `remove`. When there is no room left the call ends before the next read: there
-- are fewer answers than verbs.
local function run(keys, args)
  local place = keys[1] .. args[1]
  if args[3] == "1" then
    stopped[place] = nil
  elseif stopped[place] then
    return redis.error_reply("STOPPED an earlier call ended early")
  end
  local refused = begin(keys, args)
  if refused then return refused end
  local seq_before, big_before = seq, big
  local answers = {now, 0, 0}
  node, room = args[1], tonumber(args[2])
  local p = 4
  while p <= #args do
    local verb, n = args[p], tonumber(args[p + 1])
    if room <= 0 and READS[verb] then
      stopped[place] = true
      break
    end
    if not NEVER_LOOK[verb] then write_timer() end
    p, answers[#answers + 1] = verbs[verb](p + 2, n)
  end
  finish(keys, seq_before)
  if big ~= big_before then call("HSET", keys[1], "big", string.format("%.0f", big)) end
  answers[2], answers[3] = low, big
  return answers
end

redis.register_function("@LIBRARY@_grow", run)
redis.register_function{function_name = "@LIBRARY@_run", callback = run, flags = {"allow-oom"}}
