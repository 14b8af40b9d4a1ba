//! Every statement, by name. The texts are in `sql/`, with the reasons.

macro_rules! statements {
    ($($name:ident = $file:literal;)*) => {
        $(pub(crate) const $name: &str = include_str!(concat!("../sql/", $file, ".sql"));)*
    };
}

statements! {
    SCHEMA = "schema";
    PARTITION_CREATE = "partition/create";
    PARTITION_ACQUIRE = "partition/acquire";
    PARTITION_GUARD = "partition/guard";
    PARTITION_ADVANCE = "partition/advance";
    PARTITION_SUMMARY = "partition/summary";
    INSTANCE_INSERT = "instance/insert";
    INSTANCE_UPDATE = "instance/update";
    INSTANCE_UPDATE_SAME_STATUS = "instance/update_same_status";
    INSTANCE_DELETE = "instance/delete";
    INSTANCE_FIND_BY_KEY = "instance/find_by_key";
    INSTANCE_FIND_BY_ID = "instance/find_by_id";
    INSTANCE_UNFINISHED = "instance/unfinished";
    HISTORY_APPEND = "history/append";
    HISTORY_DELETE = "history/delete";
    HISTORY_READ = "history/read";
    MESSAGE_INSERT = "message/insert";
    MESSAGE_DELETE = "message/delete";
    MESSAGE_LIST = "message/list";
    QUERY_BY_ID = "query/by_id";
    QUERY_BY_STATUS = "query/by_status";
    QUERY_BY_CREATED = "query/by_created";
    QUERY_COUNT_STATUS = "query/count_status";
    QUERY_ENDED = "query/ended";
}
