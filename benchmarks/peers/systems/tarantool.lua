-- One Tarantool instance: an in-memory space with a log that is written and not flushed.
-- Arguments: own port, port of the other, "primary" or "replica", folder, "sync" or "async".
local own, other, role, folder, mode = arg[1], arg[2], arg[3], arg[4], arg[5]

box.cfg{
    listen = '127.0.0.1:' .. own,
    replication = role == 'replica' and {'127.0.0.1:' .. other} or nil,
    read_only = role == 'replica',
    work_dir = folder,
    memtx_memory = 1024 * 1024 * 1024,
    wal_mode = 'write',
    checkpoint_interval = 0,
    replication_synchro_quorum = mode == 'sync' and 2 or 1,
    replication_synchro_timeout = 5,
    log_level = 3,
}

if role == 'primary' then
    box.schema.user.grant('guest', 'super', nil, nil, {if_not_exists = true})
    local space = box.schema.space.create('bench', {if_not_exists = true, is_sync = mode == 'sync'})
    space:create_index('primary', {type = 'HASH', parts = {{1, 'string'}}, if_not_exists = true})
    function get_many(keys)
        local found = {}
        for i, key in ipairs(keys) do
            local row = space:get(key)
            found[i] = row and row[2] or box.NULL
        end
        return found
    end
    function put_many(keys, values)
        box.begin()
        for i, key in ipairs(keys) do
            space:replace({key, values[i]})
        end
        box.commit()
    end
end
