-- Part of the library that begins in rules.lua: the verbs that tell of jobs, queues and nodes, and PAUSE.

-- id: value, time, kind, counts; or nothing.
function verbs.show(p)
  local job = find(argv[p])
  if not job then return p + 1, false end
  local told = job.counted == 1 and call("HGET", T .. ":counts", job.id) or ""
  room = room - #job.value
  return p + 1, {job.value, job.time, job.kind, told}
end

-- queue: how many jobs are queued.
function verbs.length(p) return p + 1, call("ZCARD", T .. ":ready:" .. argv[p]) end

-- count, size, queue: {id, value; id, counts} of the oldest, or of the newest if count is negative.
function verbs.peek(p)
  local count, size, key = tonumber(argv[p]), tonumber(argv[p + 1]), T .. ":ready:" .. argv[p + 2]
  local command = count >= 0 and "ZRANGE" or "ZREVRANGE"
  count = math.abs(count)
  local given, told, start, most, before = {}, {}, 0, 16, size
  while start < count and size > 0 do
    local ids = call(command, key, start, min(count, start + chunk(size, most)) - 1)
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
    start, most = start + #ids, 500
  end
  room = room - (before - size)
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

-- Go through a hash from a cursor until about `count` elements or `most` bytes were looked at, or what is returned of
-- them has `size`: the next cursor, how many were looked at. `tell` gets names and values, and returns the sizes of
-- what it returns of them and of all.
local function go_through(key, cursor, count, size, most, tell)
  local looked, before, seen = 0, size, 0
  repeat
    local found = call("HSCAN", key, cursor, "COUNT", chunk(size, count - looked))
    local returned, all = tell(found[2])
    cursor, looked, size, seen = found[1], looked + #found[2] / 2, size - returned, seen + all
  until cursor == "0" or looked >= count or size <= 0 or seen >= most
  room = room - (before - size)
  return cursor, looked
end

-- cursor, count, size, low, high: the next cursor, the names of queues of such length, how many were looked at.
function verbs.queues(p)
  local count, size = tonumber(argv[p + 1]), tonumber(argv[p + 2])
  local low_, high, names = tonumber(argv[p + 3]), tonumber(argv[p + 4]), {}
  local function tell(found)
    local returned, all = 0, 0
    for i = 1, #found, 2 do
      local name = found[i]
      local length = (low_ > 0 or high ~= -1) and call("ZCARD", T .. ":ready:" .. name) or 0
      if length >= low_ and (high == -1 or length <= high) then
        names[#names + 1] = name
        returned = returned + #name
      end
      all = all + #name
    end
    return returned, all
  end
  local cursor, looked = go_through(T .. ":queues", argv[p], count, size, MOST_READ, tell)
  return p + 5, {cursor, names, looked}
end

-- IDs and values of jobs, or their heads only: ID, value, time, kind, counts of those that live, into `told`.
local function tell_jobs(told, ids, values)
  local scores = #ids > 0 and ask("ZMSCORE", T .. ":timer", ids) or {}
  local returned = 0
  for i, id in ipairs(ids) do
    local ms, kind, counted = read(tonumber(scores[i]))
    if kind < EXPIRY or ms > now then
      local t = #told
      told[t + 1], told[t + 2], told[t + 3], told[t + 4] = id, values[i], ms, kind
      told[t + 5] = counted == 1 and call("HGET", T .. ":counts", id) or ""
      returned = returned + #values[i]
    end
  end
  return returned
end

-- cursor, count, size or "" for only the heads of values, queue with a mark before it or "": the next cursor; id,
-- value, time, kind, counts; how many were looked at.
function verbs.jobs(p)
  local size, of, told = tonumber(argv[p + 2]), argv[p + 3], {}
  local function tell(found)
    local ids, values, all = {}, {}, 0
    for i = 1, #found, 2 do
      local value = found[i + 1]
      all = all + #value
      local ends = 36 + unpack_(">I4", value, 33)  -- of the head, where the body begins
      if of == "" or string.sub(value, 37, ends) == string.sub(of, 2) then
        ids[#ids + 1], values[#values + 1] = found[i], size and value or string.sub(value, 1, ends)
      end
    end
    return tell_jobs(told, ids, values), all
  end
  local most = max(size or 0, MOST_READ)
  local cursor, looked = go_through(T .. ":jobs", argv[p], tonumber(argv[p + 1]), size or MOST_READ, most, tell)
  return p + 4, {cursor, told, looked}
end

-- How many jobs and queues there are.
function verbs.totals(p) return p, {call("HLEN", T .. ":jobs"), call("HLEN", T .. ":queues")} end

-- Forget everything; who waits is woken, to stand in line anew.
function verbs.flush(p)
  for _, name in ipairs(call("HKEYS", T .. ":waiting")) do wake_nodes(name, line(name), LATEST) end
  for _, name in ipairs(call("HKEYS", T .. ":queues")) do call("UNLINK", T .. ":ready:" .. name) end
  for _, q in ipairs(queues) do call("UNLINK", q.key) end  -- this call may have made them
  call("UNLINK", T .. ":jobs", T .. ":timer", T .. ":counts", T .. ":queues", T .. ":waiting")
  queues, known, low, big = {}, {}, LATEST, HEAVY
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
    local left = ends and tonumber(ends) - now or -1  -- what cannot be read is forgotten
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
