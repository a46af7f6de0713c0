-- For wrk: sends the requests in the files that are named after `--`, in turn, and ends with one line of JSON.
local requests = {}
local turn = 0

function init(files)
  for index, path in ipairs(files) do
    local file = assert(io.open(path, "rb"))
    requests[index] = file:read("*a")
    file:close()
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"seconds":%.6f,"badStatus":%d,"broken":%d}\n',
    summary.requests,
    summary.duration / 1e6,
    errors.status,
    errors.connect + errors.read + errors.write + errors.timeout
  ))
end
