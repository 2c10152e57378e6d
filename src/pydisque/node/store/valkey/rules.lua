#!lua name=@LIBRARY@

-- Disque's rules on Valkey: one call does to one shard what a node's clients asked for in one turn.
--
-- Keys, all with the shard's tag, here T; KEYS are the first and the last, which is never there: in a
-- slot that is being moved key by key a call is refused as long as one of its keys is missing, so no
-- call ever sees half a shard.
--   T:state        hash: layout, seq (of the youngest job), due (when nodes were told to come again),
--                  big (no job's value and no queue's name is larger; a power of two)
--   T:jobs         hash: job ID -> seq, head, body; see `parse`
--   T:ready:QUEUE  zset: queued job IDs by 2*seq, +1 if it is in T:counts
--   T:timer        zset: what is to be done when; see `at`. Of each job there is exactly one entry,
--                  its ID; of each queue "q"+name, when to look whether it is idle; and "w"+name
--                  while a node that was woken has not come yet
--   T:counts       hash: job ID -> nacks, additional deliveries, qtime, unqueued; of few jobs
--   T:queues       hash: name -> ctime, atime, jobs in, jobs out, flags
--   T:waiting      hash: queue -> nodes in line, the first to come first, and how many clients each has
--   T:nodes        hash: node ID -> host, port, priority, when its lease ends, library; of one shard
--   T:whole        never there
-- Channels: T@NODE wakes a node ("clients queue"), T:due tells all when to come (milliseconds).
-- Times are milliseconds by Valkey's clock. A job's seq is 1024 * millisecond since EPOCH and a serial,
-- so the order of seqs is that of creation.

local LAYOUT = 1
local EPOCH = 1735689600000    -- 2025; numbers of up to 15 digits are read much faster than longer ones
local MOST_DUE = 200           -- entries of the timer that one call works off
local LATEST = EPOCH + 2^41 - 1  -- the latest time the timer can hold, in 2094
local IDLE = 300000            -- after so long an empty queue is forgotten
local LOST = 1000              -- after so long a node that was woken and has not come is given up
local CHUNK = 1000             -- elements that one command gets at most
local HEAVY = 4096             -- jobs up to this size are read without a look at how large they are
local MOST_READ = 2^22         -- bytes of jobs that are read at once, unless a single one is larger

-- What an entry of the timer is about. Those from EXPIRY on are about the end of the job's life.
local ACTIVE, UNQUEUED, EXPIRY = 0, 1, 2
local QUEUED, SPENT, ACTIVE_LAST, UNQUEUED_LAST = 2, 3, 4, 5

local PAUSED_IN, PAUSED_OUT = 1, 2
local AWAITED = 4              -- of a queue that exists only because clients block for it

local call, floor, max, min, pack, unpack_  -- there only once a function runs

local T, node, now, low, seq, due, argv, big

-- Bytes that the replies of this call may still take; a read that finds nothing left is done in a later call.
local room

-- Nodes, by shard, whose last call ended early: calls that they sent before they knew are refused, so that no
-- client's command overtakes one that was left over.
local stopped = {}

-- The timer: a time, what it is about, and whether the job has counts, in one number. Many jobs end
-- at the same time, in whole seconds; `tie` keeps them in the order in which they came, which is where
-- new entries are put fastest.
local function at(ms, kind, counted, tie)
  if ms > LATEST then ms = LATEST end
  return (((ms - EPOCH) * 256 + (tie or 0)) * 8 + kind) * 2 + counted
end

local function read(score)
  local rest = floor(score / 2)
  return floor(rest / 2048) + EPOCH, rest % 8, score % 2
end

-- Give a command many arguments, CHUNK at a time.
local function many(command, key, args)
  local n = #args
  if n == 0 then return end
  if n <= CHUNK then return call(command, key, unpack(args)) end
  for i = 1, n, CHUNK do call(command, key, unpack(args, i, min(i + CHUNK - 1, n))) end
end

local function ask(command, key, args)
  if #args <= CHUNK then return call(command, key, unpack(args)) end
  local found = {}
  for i = 1, #args, CHUNK do
    local part = call(command, key, unpack(args, i, min(i + CHUNK - 1, #args)))
    for j = 1, #part do found[#found + 1] = part[j] end
  end
  return found
end

-- There is a job of this size from now on, or a queue with such a name.
local function grow(size)
  while big < size do big = big * 2 end
end

-- How many jobs may be read at once when the reply has this much room: values are copied before they are counted.
local function chunk(size, most)
  return max(1, min(most, floor(min(size, MOST_READ) / big)))
end

-- Queues: each is read and written once per call at most.

local queues, known

local function make_known(name, kept)
  local q = {name = name, key = T .. ":ready:" .. name, fresh = 0}
  if kept then
    q.ctime, q.atime, q.into, q.out, q.flags = unpack_(">ddddB", kept)
    q.there = true
  else
    q.ctime, q.atime, q.into, q.out, q.flags = now, now, 0, 0, 0
  end
  known[name] = q
  queues[#queues + 1] = q
  return q
end

local function queue(name)
  return known[name] or make_known(name, call("HGET", T .. ":queues", name))
end

local function look_up(names)
  if #names < 2 then return end
  local kept = ask("HMGET", T .. ":queues", names)
  for i, name in ipairs(names) do
    if not known[name] then make_known(name, kept[i]) end
  end
end

local function flagged(q, flag) return floor(q.flags / flag) % 2 == 1 end

local function flag(q, which, on)
  if flagged(q, which) ~= on then
    q.flags = q.flags + (on and which or -which)
    q.dirty = true
  end
end

-- Waiting nodes of a queue: {name, clients, name, clients, ...}

local function line(name)
  local kept = call("HGET", T .. ":waiting", name)
  local found = {}
  if kept then
    for who, count in string.gmatch(kept, "(%S+) (-?%d+)") do
      found[#found + 1] = who
      found[#found + 1] = tonumber(count)
    end
  end
  return found
end

local anyone  -- is in line for a queue, as far as this call knows

local function keep_line(name, nodes)
  if #nodes > 0 then
    anyone = true
    call("HSET", T .. ":waiting", name, table.concat(nodes, " "))
  else
    call("HDEL", T .. ":waiting", name)
  end
end

local function drop(q)
  call("ZREM", T .. ":timer", "q" .. q.name)
  call("HDEL", T .. ":queues", q.name)
  known[q.name] = nil
  q.gone = true
end

-- So many more clients of this node wait, or fewer; a node that is new comes last.
local function stand(name, clients)
  local nodes, q = line(name), queue(name)
  if clients > 0 and not (q.there or q.dirty) then q.flags, q.dirty = AWAITED, true end
  for i = 1, #nodes, 2 do
    if nodes[i] == node then
      nodes[i + 1] = nodes[i + 1] + clients
      if nodes[i + 1] == 0 then
        table.remove(nodes, i)
        table.remove(nodes, i)
      end
      if #nodes == 0 and flagged(q, AWAITED) then drop(q) end
      return keep_line(name, nodes)
    end
  end
  nodes[#nodes + 1] = node
  nodes[#nodes + 1] = clients
  keep_line(name, nodes)
end

local function remind(name, ms)
  call("ZADD", T .. ":timer", at(ms, ACTIVE, 0), name)
  low = min(low, ms)
end

-- Wake as many nodes in line as have clients for so many jobs of a queue, each in its turn.
local function wake_nodes(name, nodes, jobs)
  local i = 1
  while jobs > 0 and i <= #nodes do
    local clients = nodes[i + 1]
    if clients > 0 then
      local who = table.remove(nodes, i)
      table.remove(nodes, i)
      if call("SPUBLISH", T .. "@" .. who, clients .. " " .. name) > 0 then
        jobs = jobs - clients
      end
    else
      i = i + 2
    end
  end
  keep_line(name, nodes)
  if #nodes > 0 then remind("w" .. name, now + LOST) end
end

-- Wake those in line for the jobs that came into a queue, as far as they are still there.
local function wake(q)
  if anyone == nil then anyone = call("EXISTS", T .. ":waiting") == 1 end
  if not anyone then return end
  local nodes = line(q.name)
  if #nodes == 0 then return end
  local jobs = min(q.fresh, call("ZCARD", q.key))
  if jobs > 0 then wake_nodes(q.name, nodes, jobs) end
end

-- Jobs. A value is seq and head and body; a head: ttl, retry, delay, queue.

local function parse(value)
  local s, ttl, retry, delay, name = unpack_(">di8i8i8I4", value)
  local from = 8 + 28
  return {
    seq = s, ttl = ttl, retry = retry, delay = delay,
    queue = string.sub(value, from + 1, from + name),
  }
end

-- The second after which it is not delivered any more.
local function etime(job) return floor((job.seq / 1024 + EPOCH) / 1000) + job.ttl end

local function expiry(job) return (etime(job) + 1) * 1000 end

-- The timer's entry of a job whose life's end is what comes next.
local function ending(job, kind, counted)
  return at(expiry(job), kind, counted, floor(floor(job.seq / 1024) % 1000 / 4))
end

local function counts(id)
  local n, a, q, u = string.match(call("HGET", T .. ":counts", id) or "", "(%d+) (%d+) (%d+) (%d)")
  return {nacks = tonumber(n) or 0, again = tonumber(a) or 0, qtime = tonumber(q) or 0, unqueued = u == "1"}
end

local function keep_counts(id, c)
  call("HSET", T .. ":counts", id, string.format(
    "%d %d %.0f %d", c.nacks, c.again, c.qtime, c.unqueued and 1 or 0))
end

-- When and why the timer is to look at an active job whose qtime is this; the qtime is noted apart if
-- the job's life ends before.
local function running(id, job, qtime, unqueued, counted)
  if qtime < etime(job) * 1000 then
    low = min(low, qtime)
    return at(qtime, unqueued and UNQUEUED or ACTIVE, counted)
  end
  local c = counts(id)
  c.qtime = min(qtime, LATEST)
  keep_counts(id, c)
  local ends = min(qtime, expiry(job))
  low = min(low, ends)
  return at(ends, unqueued and UNQUEUED_LAST or ACTIVE_LAST, 1)
end

-- All there is to know of a job by its ID, or nil.
local function find(id)
  local score = call("ZSCORE", T .. ":timer", id)
  if not score then return nil end
  local ms, kind, counted = read(tonumber(score))
  if kind >= EXPIRY and ms <= now then return nil end
  local value = call("HGET", T .. ":jobs", id)
  if not value then return nil end
  local job = parse(value)
  job.id, job.value, job.time, job.kind, job.counted = id, value, ms, kind, counted
  job.unqueued = kind == UNQUEUED or kind == UNQUEUED_LAST
  job.active = job.unqueued or kind == ACTIVE or kind == ACTIVE_LAST
  return job
end

-- Put an active job into its queue; why: "nack", "uncounted", "undelivered" or nil. A job that nobody got counts as
-- if it had never left.
local function queue_again(job, why)
  local q, undelivered = queue(job.queue), why == "undelivered"
  if undelivered then why = "uncounted" end
  local id = job.id
  local c
  if why == "nack" or not (job.unqueued or why == "uncounted") or job.counted == 1 then
    c = counts(id)
    if why == "nack" then
      c.nacks = (c.nacks + 1) % 65536
      c.unqueued = job.unqueued
    else
      if not (job.unqueued or why == "uncounted") then c.again = (c.again + 1) % 65536 end
      c.unqueued = false
    end
    c.qtime = 0
    keep_counts(id, c)
  end
  local counted = c and 1 or 0
  local ends = expiry(job)
  low = min(low, ends)
  call("ZADD", q.key, job.seq * 2 + counted, id)
  call("ZADD", T .. ":timer", ending(job, QUEUED, counted), id)
  if undelivered then q.out = max(0, q.out - 1) else q.into = q.into + 1 end
  q.atime, q.dirty, q.fresh = now, true, q.fresh + 1
  flag(q, AWAITED, false)
end

-- Take a queued job out of its queue, undelivered.
local function leave_queue(job)
  local counted = job.counted
  call("ZREM", queue(job.queue).key, job.id)
  local score
  if job.retry > 0 then
    local unqueued = counted == 1 and counts(job.id).unqueued
    score = running(job.id, job, now + job.retry * 1000, unqueued, counted)
  else
    score = ending(job, SPENT, counted)
  end
  call("ZADD", T .. ":timer", score, job.id)
end

-- Forget jobs; of those that are queued {key of the queue, ID}, of those with counts the IDs.
local function forget(ids, queued, counted)
  many("ZREM", T .. ":timer", ids)
  many("HDEL", T .. ":jobs", ids)
  many("HDEL", T .. ":counts", counted)
  for _, place in ipairs(queued) do call("ZREM", place[1], place[2]) end
end

-- Time

local function in_use(q)
  return q.flags % AWAITED > 0 or call("EXISTS", q.key) == 1 or #line(q.name) > 0
end

local function look_after(name)  -- an entry "q"+name
  local q = queue(name)
  if not q.there then
    call("ZREM", T .. ":timer", "q" .. name)
  elseif now - q.atime < IDLE then
    remind("q" .. name, q.atime + IDLE)
  elseif in_use(q) then
    remind("q" .. name, now + IDLE)
  else
    drop(q)
  end
end

local function look_again(name)  -- an entry "w"+name
  call("ZREM", T .. ":timer", "w" .. name)
  local q = queue(name)
  q.fresh = q.fresh + call("ZCARD", q.key)
end

local function fall_due(id, score)
  local first = string.byte(id)
  if first == 113 then return look_after(string.sub(id, 2)) end
  if first == 119 then return look_again(string.sub(id, 2)) end
  local _, kind, counted = read(score)
  local value = call("HGET", T .. ":jobs", id)
  if not value then return call("ZREM", T .. ":timer", id) end  -- not ours: nobody may be held up
  local job = parse(value)
  job.id, job.kind, job.counted = id, kind, counted
  job.unqueued = kind == UNQUEUED
  if kind >= EXPIRY or etime(job) * 1000 <= now then
    local ids = {id}
    forget(ids, kind == QUEUED and {{queue(job.queue).key, id}} or {}, counted == 1 and ids or {})
  elseif job.retry > 0 and flagged(queue(job.queue), PAUSED_IN) then
    call("ZADD", T .. ":timer", running(id, job, now + job.retry * 1000, job.unqueued, counted), id)
  else
    queue_again(job)
  end
end

local function work_off()
  local head = call("ZRANGE", T .. ":timer", 0, 0, "WITHSCORES")[2]
  low = head and read(tonumber(head)) or LATEST
  if low > now then return end
  local found = call("ZRANGE", T .. ":timer", "-inf", at(now, 7, 1, 255), "BYSCORE", "LIMIT", 0, MOST_DUE, "WITHSCORES")
  low = LATEST
  for i = 1, #found, 2 do fall_due(found[i], tonumber(found[i + 1])) end
  head = call("ZRANGE", T .. ":timer", 0, 0, "WITHSCORES")[2]
  low = min(low, head and read(tonumber(head)) or LATEST)
end
