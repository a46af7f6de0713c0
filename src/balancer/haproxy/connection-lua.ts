/**
 * The one thing for which the configuration needs a program: Connection names the headers that concern the connection
 * only, and rules can drop a header whose name they know. It runs for requests and responses that name one, which is
 * nearly never. What is about the message and not about the connection stays (protocol/forwarded.ts).
 */
export const connectionLua = `local kept = {
  host = true, cookie = true, authorization = true, connection = true, upgrade = true,
  ["content-length"] = true, ["transfer-encoding"] = true, ["set-cookie"] = true,
}

local function drop_named(headers, message)
  for _, value in pairs(headers["connection"] or {}) do
    for name in string.gmatch(string.lower(value), "[^,%s]+") do
      if not kept[name] then message:del_header(name) end
    end
  end
end

local function request_options(txn) drop_named(txn.http:req_get_headers(), { del_header = function(_, name) txn.http:req_del_header(name) end }) end
local function response_options(txn) drop_named(txn.http:res_get_headers(), { del_header = function(_, name) txn.http:res_del_header(name) end }) end

core.register_action("connection_options", { "http-req" }, request_options)
core.register_action("response_options", { "http-res" }, response_options)
`;
