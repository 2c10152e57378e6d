#!lua name=@LIBRARY@

-- Disque's rules on Valkey: one call does to one shard what a node's clients asked for in one turn.
--
-- Keys, all with the shard's tag, here T; KEYS are the first and the last, which is never there: in a
-- slot that is being moved key by key a call is refused as long as one of its keys is missing, so no
-- call ever sees half a shard.
--   T:state        hash: layout, seq (of the youngest job), due (when nodes were told to come again)
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

-- What an entry of the timer is about. Those from EXPIRY on are about the end of the job's life.
local ACTIVE, UNQUEUED, EXPIRY = 0, 1, 2
local QUEUED, SPENT, ACTIVE_LAST, UNQUEUED_LAST = 2, 3, 4, 5

local PAUSED_IN, PAUSED_OUT = 1, 2

local call, floor, max, min, pack, unpack_  -- there only once a function runs

local T, node, now, low, seq, due, argv

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
  if #nodes > 0 then anyone = true end
  if #nodes > 0 then
    call("HSET", T .. ":waiting", name, table.concat(nodes, " "))
  else
    call("HDEL", T .. ":waiting", name)
  end
end

-- So many more clients of this node wait, or fewer; a node that is new comes last.
local function stand(name, clients)
  local nodes = line(name)
  for i = 1, #nodes, 2 do
    if nodes[i] == node then
      nodes[i + 1] = nodes[i + 1] + clients
      if nodes[i + 1] == 0 then
        table.remove(nodes, i)
        table.remove(nodes, i)
      end
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

-- All there is to know of a job by its ID, or nil; `score` is its entry in the timer if known.
local function find(id, score)
  score = tonumber(score or call("ZSCORE", T .. ":timer", id) or nil)
  if not score then return nil end
  local ms, kind, counted = read(score)
  if kind >= EXPIRY and ms <= now then return nil end
  local value = call("HGET", T .. ":jobs", id)
  if not value then return nil end
  local job = parse(value)
  job.id, job.value, job.time, job.kind, job.counted = id, value, ms, kind, counted
  job.unqueued = kind == UNQUEUED or kind == UNQUEUED_LAST
  job.active = job.unqueued or kind == ACTIVE or kind == ACTIVE_LAST
  return job
end

-- Put an active job into its queue; why: "nack", "uncounted" or nil.
local function queue_again(job, why)
  local q = queue(job.queue)
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
  q.into, q.atime, q.dirty, q.fresh = q.into + 1, now, true, q.fresh + 1
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

local function forget(ids, queued, counted)
  many("ZREM", T .. ":timer", ids)
  many("HDEL", T .. ":jobs", ids)
  many("HDEL", T .. ":counts", counted)
  for _, id in ipairs(queued) do  -- before HDEL there was its queue's name
    call("ZREM", id[1], id[2])
  end
end

-- Time

local function look_after(name)  -- an entry "q"+name
  local q = queue(name)
  if not q.there then
    call("ZREM", T .. ":timer", "q" .. name)
  elseif now - q.atime < IDLE then
    remind("q" .. name, q.atime + IDLE)
  elseif q.flags > 0 or call("EXISTS", q.key) == 1 or #line(name) > 0 then
    remind("q" .. name, now + IDLE)
  else
    call("ZREM", T .. ":timer", "q" .. name)
    call("HDEL", T .. ":queues", name)
    known[name] = nil
    q.gone = true
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

-- What nodes ask for: each takes its arguments from `argv` at p, and gives the next p and its answer.

local verbs = {}

-- Verbs that do not look at the timer.
local NEVER_LOOK = {add = true, fit = true, get = true, take = true, offered = true, stand = true}

-- What is to be written into the timer, in one go and before anybody looks at it.
local later

local function write_timer()
  many("ZADD", T .. ":timer", later)
  later = {}
end

-- Add n jobs of what is the same for all, into `jobs` for T:jobs: the next p, and why not if not.
local function add(p, job, n, jobs)
  local q, head = queue(job.queue), job.head
  if flagged(q, PAUSED_IN) then return p + 2 * n, "PAUSED" end
  local ready = {}
  local j, t = #jobs, #later
  local delayed = job.delay > 0
  local first = seq
  local entry = delayed and at(now + job.delay * 1000, UNQUEUED, 0)
  local moment  -- for which `entry` is right
  job.seq = seq + 1
  low = min(low, delayed and now + job.delay * 1000 or expiry(job))
  for i = 1, 2 * n, 2 do
    seq = seq + 1
    if not delayed and floor(seq / 4096) ~= moment then
      moment, job.seq = floor(seq / 4096), seq
      entry = ending(job, QUEUED, 0)
    end
    local id = argv[p]
    if delayed and job.delay >= job.ttl then  -- nodes refuse that, but its life ends all the same
      job.seq = seq
      entry = running(id, job, now + job.delay * 1000, true, 0)
    end
    jobs[j + i], jobs[j + i + 1] = id, pack(">d", seq) .. head .. argv[p + 1]
    later[t + i], later[t + i + 1] = entry, id
    ready[i], ready[i + 1] = seq * 2, id
    p = p + 2
  end
  if not delayed then
    many("ZADD", q.key, ready)
    q.into, q.atime, q.dirty, q.fresh = q.into + n, now, true, q.fresh + n
  end
  return p
end

-- n * (head, m, m * (id, body)): true, or for each head why its jobs were not added, or not.
function verbs.add(p, n)
  local kinds, names, at_ = {}, {}, p
  for i = 1, n do
    local job = parse("        " .. argv[at_])
    job.head, job.n = argv[at_], tonumber(argv[at_ + 1])
    kinds[i], names[i] = job, job.queue
    at_ = at_ + 2 + 2 * job.n
  end
  look_up(names)
  local refused, jobs = false, {}
  for i, job in ipairs(kinds) do
    local why
    p, why = add(p + 2, job, job.n, jobs)
    if why then
      refused = refused or {}
      refused[i] = why
    end
  end
  many("HSET", T .. ":jobs", jobs)
  if not refused then return p, true end
  for i = 1, n do refused[i] = refused[i] or false end
  return p, refused
end

-- maxlen, head, id, body: true, or why it was not added.
function verbs.fit(p)
  local job, jobs = parse("        " .. argv[p + 1]), {}
  if call("ZCARD", queue(job.queue).key) >= tonumber(argv[p]) then return p + 4, "MAXLEN" end
  job.head = argv[p + 1]
  local why
  p, why = add(p + 2, job, 1, jobs)
  many("HSET", T .. ":jobs", jobs)
  return p, why or true
end

-- What the timer has to know of a job that is handed out, one that is not like most.
local function handed_out(id, seq_, ttl, retry, counted, told)
  local job, unqueued = {seq = seq_, ttl = ttl, retry = retry}, false
  if counted == 1 then
    local c = counts(id)
    told[#told + 1], told[#told + 2] = id, c.nacks .. " " .. c.again
    unqueued = c.unqueued
  end
  if retry > 0 then return running(id, job, now + retry * 1000, unqueued, counted) end
  return ending(job, SPENT, counted)
end

-- Hand out what was taken from its queue, into `given` as id and value and into `told` as the counts of
-- those that have some; put back what is more than `size`, of which what is left is returned.
local function hand_out(given, told, ids, scores, values, owners, size)
  local timer, ended = later, {}
  local last, head, retry, ttl, reach  -- of the job before: most are alike
  for i = 1, #ids do
    local id, q, value = ids[i], owners[i], values[i]
    if size <= 0 then
      call("ZADD", q.key, scores[i], id)
    else
      local counted = scores[i] % 2
      head = string.sub(value, 9, 24)
      if head ~= last then
        ttl, retry = unpack_(">i8i8", head)
        last, reach = head, now + retry * 1000
      end
      local second = floor((scores[i] / 2048 + EPOCH) / 1000) + ttl
      if (second + 1) * 1000 <= now then
        ended[#ended + 1] = id
      else
        local t = #timer
        if retry > 0 and counted == 0 and reach < second * 1000 then
          timer[t + 1] = at(reach, ACTIVE, 0)
          if reach < low then low = reach end
        else
          timer[t + 1] = handed_out(id, (scores[i] - counted) / 2, ttl, retry, counted, told)
        end
        timer[t + 2] = id
        local g = #given
        given[g + 1], given[g + 2] = id, value
        size = size - #value
        q.out, q.atime, q.dirty = q.out + 1, now, true
      end
    end
  end
  if #ended > 0 then forget(ended, {}, ended) end
  return size
end

-- Whose turn it is to give a job, `want` times at most, of queues that have `left` each.
local function turns(open, want)
  local turn, some = {}, true
  while some do
    some = false
    for _, q in ipairs(open) do
      if #turn == want then return turn end
      if q.left > 0 then
        turn[#turn + 1], q.left, q.wanted, some = q, q.left - 1, q.wanted + 1, true
      end
    end
  end
  return turn
end

-- Take so many jobs of one queue, or of several in turn: how many there were, and what is left of size.
local function take(given, told, open, want, size)
  local ids, scores, owners = {}, {}, {}
  if #open == 1 then
    local popped = call("ZPOPMIN", open[1].key, want)
    for i = 1, #popped, 2 do
      ids[#ids + 1], scores[#scores + 1], owners[#owners + 1] = popped[i], tonumber(popped[i + 1]), open[1]
    end
  else
    for _, q in ipairs(turns(open, want)) do
      if not q.popped then
        q.popped, q.next = call("ZPOPMIN", q.key, q.wanted), 1
      end
      ids[#ids + 1], scores[#scores + 1] = q.popped[q.next], tonumber(q.popped[q.next + 1])
      owners[#owners + 1], q.next = q, q.next + 2
    end
  end
  if #ids == 0 then return 0, size end
  return #ids, hand_out(given, told, ids, scores, ask("HMGET", T .. ":jobs", ids), owners, size)
end

-- The queues of these that may have something to give, up to the first if only one job is wanted.
local function open_queues(names, want, quietly)
  local open = {}
  for _, name in ipairs(names) do
    local q = queue(name)
    if not (q.there or quietly) then q.dirty = true end
    if not flagged(q, PAUSED_OUT) then
      q.left, q.wanted, q.popped = #names > 1 and call("ZCARD", q.key) or 1, 0, nil
      if q.left > 0 then open[#open + 1] = q end
      if want == 1 and #open == 1 then break end
    end
  end
  return open
end

-- Up to so many jobs, until their values are of such size: how many, and {id, value of each; id, counts
-- of some; the time}, or nothing.
local function get(names, count, size, quietly)
  local given, told = {}, {}
  local chunk = #names == 1 and 128 or 16
  while #given < count * 2 and size > 0 do
    local left = count - #given / 2
    local open = open_queues(names, left, quietly)
    if #open == 0 then break end
    local want = min(left, chunk)
    local found
    found, size = take(given, told, open, want, size)
    if found == 0 or (#names == 1 and found < want) then break end
    chunk = 500
  end
  return #given / 2, #given > 0 and {given, told, now}
end

-- wait, count, size, n, n * queue: the jobs; if there are none and `wait`, a client stands in line.
function verbs.get(p)
  local wait, n = argv[p] == "1", tonumber(argv[p + 3])
  local names = {unpack(argv, p + 4, p + 3 + n)}
  local n_given, given = get(names, tonumber(argv[p + 1]), tonumber(argv[p + 2]))
  if n_given == 0 and wait then
    local stood = {}
    for _, name in ipairs(names) do
      if not stood[name] then stand(name, 1) end
      stood[name] = true
    end
  end
  return p + 4 + n, given
end

-- clients, size, queue: a job for each of them, that many less stand in line again.
function verbs.take(p)
  local q, clients = queue(argv[p + 2]), tonumber(argv[p])
  local n_given, given = get({q.name}, clients, tonumber(argv[p + 1]), true)
  local left = clients - n_given
  if left > 0 then stand(q.name, left) end
  call("ZREM", T .. ":timer", "w" .. q.name)
  if left == 0 then q.fresh = q.fresh + call("ZCARD", q.key) end
  return p + 3, given
end

-- queue: how many jobs it would give now; it is there from now on.
function verbs.offered(p)
  local q = queue(argv[p])
  if not q.there then q.dirty = true end
  return p + 1, flagged(q, PAUSED_OUT) and 0 or call("ZCARD", q.key)
end

-- clients, queue: so many more stand in line, or fewer; woken at once if there are jobs.
function verbs.stand(p)
  local q, clients = queue(argv[p + 1]), tonumber(argv[p])
  stand(q.name, clients)
  if clients > 0 then
    if not flagged(q, PAUSED_OUT) then q.fresh = q.fresh + call("ZCARD", q.key) end
  end
  return p + 2, true
end

-- n * (m, m * id): how many of each m there were.
function verbs.remove(p, n)
  local ids, ends, from = {}, {}, p
  for i = 1, n do
    local m = tonumber(argv[p])
    for j = p + 1, p + m do ids[#ids + 1] = argv[j] end
    ends[i] = #ids
    p = p + 1 + m
  end
  local answer = {}
  local scores = #ids > 0 and ask("ZMSCORE", T .. ":timer", ids) or {}
  local there, queued, counted, seen = {}, {}, {}, {}
  local i = 1
  for k = 1, n do
    local removed = 0
    while i <= ends[k] do
      local id, score = ids[i], scores[i]
      if score and not seen[id] then
        seen[id] = true
        local ms, kind, has = read(tonumber(score))
        there[#there + 1] = id
        if has == 1 then counted[#counted + 1] = id end
        if kind == QUEUED then
          queued[#queued + 1] = {queue(parse(call("HGET", T .. ":jobs", id)).queue).key, id}
        end
        if kind < EXPIRY or ms > now then removed = removed + 1 end
      end
      i = i + 1
    end
    answer[k] = removed
  end
  if #there > 0 then forget(there, queued, counted) end
  return p, answer
end

local function each(p, what)
  local n, done, seen = tonumber(argv[p]), 0, {}
  for i = p + 1, p + n do
    local id = argv[i]
    local job = not seen[id] and find(id)
    seen[id] = true
    if job and what(job) then done = done + 1 end
  end
  return p + 1 + n, done
end

-- uncounted, n, n * id: how many were queued.
function verbs.enqueue(p)
  local why = argv[p] == "1" and "uncounted" or nil
  return each(p + 1, function(job)
    if not job.active then return false end
    queue_again(job, why)
    return true
  end)
end

-- n, n * (id, qtime): how many were queued of those that are still as they were handed out, with this
-- qtime or none: nobody got them.
function verbs.give_back(p)
  local n, done = tonumber(argv[p]), 0
  for i = p + 1, p + 2 * n, 2 do
    local job = find(argv[i])
    local last = job and (job.kind == ACTIVE_LAST or job.kind == UNQUEUED_LAST)
    local qtime = job and (last and counts(job.id).qtime or job.active and job.time or 0)
    if job and job.kind ~= QUEUED and qtime == tonumber(argv[i + 1]) then
      queue_again(job, "uncounted")
      done = done + 1
    end
  end
  return p + 1 + 2 * n, done
end

-- delay, n, n * id: how many were queued, or will be.
function verbs.nack(p)
  local delay = tonumber(argv[p])
  return each(p + 1, function(job)
    if not job.active then return false end
    if delay == 0 then
      queue_again(job, "nack")
    else
      local c = counts(job.id)
      c.nacks, c.qtime = (c.nacks + 1) % 65536, 0
      keep_counts(job.id, c)
      call("ZADD", T .. ":timer", running(job.id, job, now + delay * 1000, true, 1), job.id)
    end
    return true
  end)
end

-- n, n * id: how many were queued.
function verbs.dequeue(p)
  return each(p, function(job)
    if job.kind ~= QUEUED then return false end
    leave_queue(job)
    return true
  end)
end

-- id: its retry time, or why not.
function verbs.working(p)
  local job = find(argv[p])
  if not job then return p + 1, "NOJOB" end
  if now - floor(job.seq / 1024) - EPOCH > etime(job) * 1000 - now then return p + 1, "TOOLATE" end
  if job.kind == QUEUED then
    leave_queue(job)
  elseif job.active and job.retry > 0 then
    local score = running(job.id, job, now + job.retry * 1000, job.unqueued, job.counted)
    call("ZADD", T .. ":timer", score, job.id)
  end
  return p + 1, job.retry
end

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
    local channel = T .. "@" .. nodes[i]
    if call("PUBSUB", "SHARDNUMSUB", channel)[2] > 0 then blocked = blocked + nodes[i + 1] end
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
    local length = (low_ > 0 or high >= 0) and call("ZCARD", T .. ":ready:" .. name) or 0
    if length >= low_ and (high < 0 or length <= high) then names[#names + 1] = name end
  end
  return p + 4, {found[1], names, #found[2] / 2}
end

-- cursor, count, queue with a mark before it or "": the next cursor; id, value, time, kind, counts;
-- how many were looked at.
function verbs.jobs(p)
  local of = argv[p + 2]
  local found = call("HSCAN", T .. ":jobs", argv[p], "COUNT", argv[p + 1])
  local ids, values = {}, {}
  for i = 1, #found[2], 2 do
    local value = found[2][i + 1]
    if of == "" or parse(value).queue == string.sub(of, 2) then
      ids[#ids + 1], values[#values + 1] = found[2][i], value
    end
  end
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
  return p + 3, {found[1], told, #found[2] / 2}
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

-- @CARE@

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
    return redis.error_reply("LAYOUT " .. state[1])
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
