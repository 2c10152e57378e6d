-- Part of the library that begins in rules.lua, whose names are known here.

-- What nodes ask for: each takes its arguments from `argv` at p, and gives the next p and its answer.

local verbs = {}

-- Verbs that do not look at the timer.
local NEVER_LOOK = {add = true, fit = true, get = true, take = true, offered = true, stand = true}

-- Verbs whose reply may be large.
local READS = {get = true, take = true, peek = true, show = true, jobs = true, queues = true}

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
    local value = pack(">d", seq) .. head .. argv[p + 1]
    if #value > big then grow(#value) end
    jobs[j + i], jobs[j + i + 1] = id, value
    later[t + i], later[t + i + 1] = entry, id
    ready[i], ready[i + 1] = seq * 2, id
    p = p + 2
  end
  if not delayed then
    many("ZADD", q.key, ready)
    q.into, q.atime, q.dirty, q.fresh = q.into + n, now, true, q.fresh + n
    flag(q, AWAITED, false)
  end
  return p
end

-- n * (head, m, m * (id, body)): true, or for each head why its jobs were not added, or not.
function verbs.add(p, n)
  if big > HEAVY and call("HLEN", T .. ":jobs") == 0 then big = HEAVY end
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
  local timer, ended, before = later, {}, size
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
  room = room - (before - size)
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
        turn[#turn + 1], q.left, some = q, q.left - 1, true
      end
    end
  end
  return turn
end

-- Take jobs out of one queue, or out of several, whose turn it is from one place to another.
local function pop(q, want)
  local ids, scores, owners = {}, {}, {}
  local popped = call("ZPOPMIN", q.key, want)
  for i = 1, #popped, 2 do
    ids[#ids + 1], scores[#scores + 1], owners[#owners + 1] = popped[i], tonumber(popped[i + 1]), q
  end
  return ids, scores, owners
end

local function pop_in_turn(turn, from, to)
  local ids, scores, owners = {}, {}, {}
  for i = from, to do turn[i].wanted, turn[i].popped = 0, nil end
  for i = from, to do turn[i].wanted = turn[i].wanted + 1 end
  for i = from, to do
    local q = turn[i]
    if not q.popped then
      q.popped, q.next = call("ZPOPMIN", q.key, q.wanted), 1
    end
    ids[#ids + 1], scores[#scores + 1] = q.popped[q.next], tonumber(q.popped[q.next + 1])
    owners[#owners + 1], q.next = q, q.next + 2
  end
  return ids, scores, owners
end

-- Take so many jobs of these queues, each in its turn, in portions of bounded size: how many there were, and what is
-- left of size.
local function take(given, told, open, want, size)
  local turn = #open > 1 and turns(open, want)
  if turn then want = #turn end
  local done, most = 0, #open == 1 and 128 or 16
  repeat
    local to = min(want, done + chunk(size, most))
    local ids, scores, owners
    if turn then
      ids, scores, owners = pop_in_turn(turn, done + 1, to)
    else
      ids, scores, owners = pop(open[1], to - done)
    end
    if #ids > 0 then
      size = hand_out(given, told, ids, scores, ask("HMGET", T .. ":jobs", ids), owners, size)
    end
    done, most = done + #ids, 500
  until done < to or done == want or size <= 0
  return done, size
end

-- The queues of these that may have something to give, until so many jobs are found.
local function open_queues(names, want)
  local open, turns_ = {}, {}
  for _, name in ipairs(names) do
    local q = queue(name)
    if not flagged(q, PAUSED_OUT) then
      q.left = #names > 1 and call("ZCARD", q.key) or 1
      turns_[q] = (turns_[q] or 0) + 1
      if q.left > 0 then open[#open + 1] = q end
      if turns_[q] <= q.left then want = want - 1 end
      if want == 0 then break end  -- the others' turn does not come
    end
  end
  return open
end

-- Up to so many jobs, until their values are of such size: how many, and {id, value of each; id, counts
-- of some; the time}, or nothing.
local function get(names, count, size)
  local given, told = {}, {}
  while #given < count * 2 and size > 0 do
    local left = count - #given / 2
    local open = open_queues(names, left)
    if #open == 0 then break end
    local found
    found, size = take(given, told, open, left, size)
    if found == 0 or (#names == 1 and found < left) then break end
  end
  return #given / 2, #given > 0 and {given, told, now}
end

-- wait, count, size, n, n * queue: the jobs; if there are none and `wait`, a client stands in line.
function verbs.get(p)
  local wait, n = argv[p] == "1", tonumber(argv[p + 3])
  local names = {}
  for i = 1, n do names[i] = argv[p + 3 + i] end  -- unpack takes some thousands only
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
  local n_given, given = get({q.name}, clients, tonumber(argv[p + 1]))
  if n_given < clients then stand(q.name, clients - n_given) end
  call("ZREM", T .. ":timer", "w" .. q.name)
  q.fresh = q.fresh + call("ZCARD", q.key)  -- for whoever is in line still, as when `size` was too small
  return p + 3, given
end

-- queue: how many jobs it would give now.
function verbs.offered(p)
  local q = queue(argv[p])
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
      queue_again(job, "undelivered")
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
