-- Part of the library that begins in rules.lua: the verbs that tell of jobs, queues and nodes, and PAUSE.

local SCANNED_SIZE = 4194304  -- bytes of values that one JSCAN looks at

-- id: value, time, kind, counts; or nothing.
function verbs.show(p)
  local job = find(argv[p])
  if not job then return p + 1, false end
  local told = job.counted == 1 and call("HGET", T .. ":counts", job.id) or ""
  return p + 1, {job.value, job.time, job.kind, told}
end

-- queue: how many jobs are queued.
function verbs.length(p) return p + 1, call("ZCARD", T .. ":ready:" .. argv[p]) end

-- count, size, queue: {id, value; id, counts} of the oldest, or of the newest if count is negative.
function verbs.peek(p)
  local count, size, key = tonumber(argv[p]), tonumber(argv[p + 1]), T .. ":ready:" .. argv[p + 2]
  local command = count >= 0 and "ZRANGE" or "ZREVRANGE"
  count = math.abs(count)
  local given, told, start, chunk = {}, {}, 0, 16
  while start < count and size > 0 do
    local ids = call(command, key, start, min(count, start + chunk) - 1)
    if #ids == 0 then break end
    local values = ask("HMGET", T .. ":jobs", ids)
    local noted = ask("HMGET", T .. ":counts", ids)
    for i, id in ipairs(ids) do
      if size > 0 then
        local g, t = #given, #told
        given[g + 1], given[g + 2] = id, values[i]
        if noted[i] then told[t + 1], told[t + 2] = id, noted[i] end
        size = size - #values[i]
      end
    end
    start, chunk = start + #ids, 500
  end
  return p + 3, {given, told, now}
end

-- queue: record, length, waiting; or nothing.
function verbs.stat(p)
  local q = queue(argv[p])
  if not (q.there or q.dirty) then return p + 1, false end
  local blocked = 0
  local nodes = line(q.name)
  for i = 1, #nodes, 2 do
    local clients = nodes[i + 1]  -- below 0 where some left whom a job is being taken for
    if clients > 0 and call("PUBSUB", "SHARDNUMSUB", T .. "@" .. nodes[i])[2] > 0 then
      blocked = blocked + clients
    end
  end
  return p + 1, {
    call("ZCARD", q.key), floor((now - q.ctime) / 1000), floor((now - q.atime) / 1000),
    blocked, q.into, q.out, q.flags % 4,
  }
end

-- flags or "", queue: its flags afterwards, and 1 more.
function verbs.pause(p)
  local q = queue(argv[p + 1])
  if argv[p] ~= "" then
    local to = tonumber(argv[p])
    if q.there or q.dirty or to > 0 then
      q.dirty = true
      flag(q, PAUSED_IN, to % 2 == 1)
      flag(q, PAUSED_OUT, to >= 2)
      if to > 0 then flag(q, AWAITED, false) end
      if to < 2 then q.fresh = q.fresh + call("ZCARD", q.key) end
    end
  end
  return p + 2, q.flags % 4 + 1
end

-- cursor, count, low, high: the next cursor, the names of queues of such length, how many were looked at.
function verbs.queues(p)
  local low_, high = tonumber(argv[p + 2]), tonumber(argv[p + 3])
  local found = call("HSCAN", T .. ":queues", argv[p], "COUNT", argv[p + 1])
  local names = {}
  for i = 1, #found[2], 2 do
    local name = found[2][i]
    local length = (low_ > 0 or high ~= -1) and call("ZCARD", T .. ":ready:" .. name) or 0
    if length >= low_ and (high == -1 or length <= high) then names[#names + 1] = name end
  end
  return p + 4, {found[1], names, #found[2] / 2}
end

-- Jobs by HSCAN, until about `count` or SCANNED_SIZE were looked at or values of `size` were found: the next
-- cursor, IDs and values of those of a queue, how many were looked at. A step is one element where they are heavy.
local function scan(cursor, count, size, whole, of)
  local ids, values, looked, seen, step = {}, {}, 0, 0, 1
  repeat
    local found = call("HSCAN", T .. ":jobs", cursor, "COUNT", min(step, count - looked))
    cursor = found[1]
    for i = 1, #found[2], 2 do
      local value = found[2][i + 1]
      seen = seen + #value
      local ends = 36 + unpack_(">I4", value, 33)  -- of the head, where the body begins
      if of == "" or string.sub(value, 37, ends) == string.sub(of, 2) then
        if whole then size = size - #value else value = string.sub(value, 1, ends) end
        ids[#ids + 1], values[#values + 1] = found[2][i], value
      end
    end
    looked = looked + #found[2] / 2
    step = max(1, min(step * 2, floor(min(size, 65536) * looked / max(1, seen))))
  until cursor == "0" or looked >= count or seen >= SCANNED_SIZE or size <= 0
  return cursor, ids, values, looked
end

-- cursor, count, size or "" for only the heads of values, queue with a mark before it or "": the next cursor; id,
-- value, time, kind, counts; how many were looked at.
function verbs.jobs(p)
  local size = tonumber(argv[p + 2])
  local cursor, ids, values, looked =
    scan(argv[p], tonumber(argv[p + 1]), size or math.huge, size ~= nil, argv[p + 3])
  local told = {}
  local scores = #ids > 0 and ask("ZMSCORE", T .. ":timer", ids) or {}
  for i, id in ipairs(ids) do
    local ms, kind, counted = read(tonumber(scores[i]))
    if kind < EXPIRY or ms > now then
      local t = #told
      told[t + 1], told[t + 2], told[t + 3], told[t + 4] = id, values[i], ms, kind
      told[t + 5] = counted == 1 and call("HGET", T .. ":counts", id) or ""
    end
  end
  return p + 4, {cursor, told, looked}
end

-- How many jobs and queues there are.
function verbs.totals(p) return p, {call("HLEN", T .. ":jobs"), call("HLEN", T .. ":queues")} end

-- Forget everything; who waits is woken, to stand in line anew.
function verbs.flush(p)
  for _, name in ipairs(call("HKEYS", T .. ":waiting")) do wake_nodes(name, line(name), LATEST) end
  for _, name in ipairs(call("HKEYS", T .. ":queues")) do call("UNLINK", T .. ":ready:" .. name) end
  call("UNLINK", T .. ":jobs", T .. ":timer", T .. ":counts", T .. ":queues", T .. ":waiting")
  queues, known, low = {}, {}, LATEST
  return p, true
end

-- id, host, port, priority, lease, library: this node lives; those that do, of as many fields, the lease
-- as what is left of it. Those whose lease is long over are forgotten; without a lease, this one.
function verbs.live(p)
  local id, lease = argv[p], tonumber(argv[p + 4])
  if lease > 0 then
    call("HSET", T .. ":nodes", id, table.concat({
      argv[p + 1], argv[p + 2], argv[p + 3], string.format("%.0f", now + lease), argv[p + 5]}, " "))
  else
    call("HDEL", T .. ":nodes", id)
  end
  local kept, told = call("HGETALL", T .. ":nodes"), {}
  for i = 1, #kept, 2 do
    local host, port, priority, ends, library =
      string.match(kept[i + 1], "^(%S*) (%S+) (%S+) (%S+) (%S+)$")
    local left = tonumber(ends) - now
    if left < 0 then
      call("HDEL", T .. ":nodes", kept[i])
    else
      for _, field in ipairs{kept[i], host, port, priority, left, library} do told[#told + 1] = field end
    end
  end
  return p + 6, told
end

-- Nothing: what is due was done already.
function verbs.tick(p) return p, true end
