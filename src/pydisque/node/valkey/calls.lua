-- Part of the library that begins in rules.lua: what a call does before and after its verbs.

-- Begin and end of a call

local function begin(keys, args)
  call, floor, max, min = redis.call, math.floor, math.max, math.min
  pack, unpack_ = struct.pack, struct.unpack
  T, argv, queues, known, later, anyone = string.sub(keys[1], 1, -7), args, {}, {}, {}, nil
  local time = call("TIME")
  now = time[1] * 1000 + floor(time[2] / 1000)
  local state = call("HMGET", keys[1], "layout", "seq", "due")
  if not state[1] then
    call("HSET", keys[1], "layout", LAYOUT)
  elseif tonumber(state[1]) ~= LAYOUT then
    return redis.error_reply("LAYOUT what is kept has layout " .. state[1] .. " by now, and this node knows only "
      .. LAYOUT .. ": upgrade it")
  end
  seq, due = max(tonumber(state[2] or 0), (now - EPOCH) * 1024), tonumber(state[3] or LATEST)
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
      if not q.there then remind("q" .. q.name, now + IDLE) end
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

-- KEYS as above; ARGV: who asks, and verb, number, arguments of each, and so on. The time, when it is time to come
-- again, and the answers, a list of them or true for each `add` and `remove`.
local function run(keys, args)
  local refused = begin(keys, args)
  if refused then return refused end
  local before = seq
  local answers = {now, 0}
  node = args[1]
  local p = 2
  while p <= #args do
    local verb, n = args[p], tonumber(args[p + 1])
    if not NEVER_LOOK[verb] then write_timer() end
    p, answers[#answers + 1] = verbs[verb](p + 2, n)
  end
  finish(keys, before)
  answers[2] = low
  return answers
end

redis.register_function("@LIBRARY@_grow", run)
redis.register_function{function_name = "@LIBRARY@_run", callback = run, flags = {"allow-oom"}}
