-- Part of the library that begins in rules.lua: what operators ask for. Queues told in full, what a dump
-- holds taken in, all of it looked over; each call is one moment, whatever nodes do meanwhile.

-- How many jobs there are, and how many bytes one of them takes, by those looked at.
function verbs.extent(p)
  local count, size = call("HLEN", T .. ":jobs"), 0
  if count == 0 then return p, {0, 0} end
  local ids = call("HRANDFIELD", T .. ":jobs", 20)
  for _, id in ipairs(ids) do size = size + call("HSTRLEN", T .. ":jobs", id) end
  return p, {count, floor(size / #ids)}
end

-- cursor, count: drop the queues that nobody uses among so many; the next cursor.
function verbs.drop_unused(p)
  local found = call("HSCAN", T .. ":queues", argv[p], "COUNT", argv[p + 1])
  for i = 1, #found[2], 2 do
    local q = queue(found[2][i])
    if not in_use(q) then drop(q) end
  end
  return p + 2, found[1]
end

-- cursor, count: the next cursor; name and record of each queue.
function verbs.records(p)
  local found = call("HSCAN", T .. ":queues", argv[p], "COUNT", argv[p + 1])
  for i = 1, #found[2], 2 do queue(found[2][i]) end
  local told = {}
  for _, q in ipairs(queues) do  -- also those that what was due has made or changed just now
    if (q.there or q.dirty) and not (q.gone or flagged(q, AWAITED)) then
      told[#told + 1] = q.name
      told[#told + 1] = pack(">ddddB", q.ctime, q.atime, q.into, q.out, q.flags)
    end
  end
  return p + 2, {found[1], told}
end

-- name, ctime, atime, jobs in, jobs out, flags: 1, or 0 if it is paused or has counters already.
function verbs.enroll(p)
  local q = queue(argv[p])
  if q.flags % AWAITED > 0 or q.into > 0 or q.out > 0 then return p + 6, 0 end
  q.ctime, q.atime = tonumber(argv[p + 1]), tonumber(argv[p + 2])
  q.into, q.out, q.flags = tonumber(argv[p + 3]), tonumber(argv[p + 4]), tonumber(argv[p + 5])
  q.dirty = true
  return p + 6, 1
end

local function take_in(id, s, rest, kind, qtime, noted)
  local value = pack(">d", tonumber(s)) .. rest
  if call("HSETNX", T .. ":jobs", id, value) == 0 then return 0 end
  grow(#value)
  local job, counted = parse(value), noted ~= "" and 1 or 0
  seq = max(seq, job.seq)
  if counted == 1 then call("HSET", T .. ":counts", id, noted) end
  local score
  if kind < EXPIRY then
    score = running(id, job, tonumber(qtime), kind == UNQUEUED, counted)
  else
    score = ending(job, kind, counted)
    low = min(low, expiry(job))
  end
  call("ZADD", T .. ":timer", score, id)
  if kind == QUEUED then
    local q = queue(job.queue)
    call("ZADD", q.key, job.seq * 2 + counted, id)
    q.dirty, q.fresh = true, q.fresh + 1
    flag(q, AWAITED, false)
  end
  return 1
end

-- n * (id, seq, head and body, kind, qtime, counts): of each 1, or 0 if it is there already. The kind is ACTIVE or
-- UNQUEUED, whenever its life ends, or QUEUED or SPENT.
function verbs.import(p, n)
  local taken = {}
  for i = 1, n do
    taken[i] = take_in(argv[p], argv[p + 1], argv[p + 2], tonumber(argv[p + 3]), argv[p + 4], argv[p + 5])
    p = p + 6
  end
  return p, taken
end

-- What is wrong with a job whose value can be read, or nothing.
local function wrong_job(id, job, score)
  local ms, kind, counted = read(score)
  local queued = call("ZSCORE", T .. ":ready:" .. job.queue, id)
  if kind > UNQUEUED_LAST then return "its entry in the timer is of no kind" end
  if counted ~= call("HEXISTS", T .. ":counts", id) then return "whether it has counts is told in two ways" end
  if kind == QUEUED then
    if not queued then return "it is queued, and not in its queue" end
    if tonumber(queued) ~= job.seq * 2 + counted then return "its place in its queue is not its own" end
    local q = known[job.queue]
    if not (q and q.dirty) and call("HEXISTS", T .. ":queues", job.queue) == 0 then
      return "it is queued, and its queue has no record"
    end
  elseif queued then
    return "it is in its queue, and not queued"
  end
  if (kind == QUEUED or kind == SPENT) and score ~= ending(job, kind, counted) then
    return "its life ends at another time than its timer says"
  end
  if kind == SPENT and job.retry > 0 then return "it is active with a retry time, but never to be queued again" end
  if kind > SPENT and counted == 0 then return "it is not known when it is to be queued" end
  if job.seq > seq then return "it is younger than the youngest" end
end

-- What is looked at: the command, and what is wrong with one element; `told` gets what else is to be known of it.
local looks = {}

looks.jobs = {"HSCAN", function(told, id, value)
  if #value < 36 or #value < 36 + unpack_(">I4", value, 33) then return "it is cut short" end
  local job, score = parse(value), tonumber(call("ZSCORE", T .. ":timer", id) or nil)
  local t = #told
  told[t + 1], told[t + 2], told[t + 3] = id, job.queue, -1
  if not score then return "it is not in the timer" end
  local _, kind = read(score)
  told[t + 3] = kind
  return wrong_job(id, job, score)
end}

looks.timer = {"ZSCAN", function(_, name)
  local first = string.byte(name)
  if first ~= 113 and first ~= 119 and call("HEXISTS", T .. ":jobs", name) == 0 then
    return "it is in the timer, and is no job"
  end
end}

looks.counts = {"HSCAN", function(_, id, noted)
  if call("HEXISTS", T .. ":jobs", id) == 0 then return "it has counts, and is no job" end
  if not string.match(noted, "^%d+ %d+ %d+ [01]$") then return "its counts cannot be read" end
end}

looks.queues = {"HSCAN", function(told, name, record)
  if #record ~= 33 then return "its record cannot be read" end
  told[#told + 1] = name
  told[#told + 1] = record
  if not call("ZSCORE", T .. ":timer", "q" .. name) then return "nobody will look whether it is idle" end
end}

looks.ready = {"ZSCAN", function(_, id, _, name)
  local value = call("HGET", T .. ":jobs", id)
  if not value then return "it is in a queue, and is no job" end
  if #value >= 36 and parse(value).queue ~= name then return "it is in a queue that is not its own" end
end}

-- what, queue or "", cursor, count: the next cursor; name of each that is not as it has to be, and what is wrong;
-- of each that can be read also ID, queue and kind of a job, name and record of a queue.
function verbs.audit(p)
  local what, name = argv[p], argv[p + 1]
  local command, look = unpack(looks[what])
  local key = T .. ":" .. what .. (what == "ready" and ":" .. name or "")
  local count = chunk(MOST_READ, tonumber(argv[p + 3]))
  local found = call(command, key, argv[p + 2], "COUNT", count)
  local wrong, told = {}, {}
  for i = 1, #found[2], 2 do
    local why = look(told, found[2][i], found[2][i + 1], name)
    if why then
      wrong[#wrong + 1] = found[2][i]
      wrong[#wrong + 1] = why
    end
  end
  return p + 4, {found[1], wrong, told}
end
