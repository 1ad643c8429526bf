//! Why each thing matters that is looked at.

const WHY: [(&str, &str); 24] = [
    ("configuration", "with a value that is wrong the runtime does not start"),
    ("bun", "it is what every worker runs"),
    ("worker directories", "apps are found there, and deployments go to the first one that can be written"),
    (
        "state directory",
        "keys, aliases, the audit log and what apps store are kept there, for this user alone",
    ),
    (
        "state file system",
        "the database of the state directory writes ahead (SQLite WAL), which takes shared memory and locks that hold",
    ),
    ("cache directory", "the shim is compiled into it, which every worker runs"),
    ("disk space", "on a full disk nothing is changed or deployed, and cold apps may not start"),
    ("disk space of apps", "on a full disk nothing is deployed"),
    (
        "disk space of cache",
        "the shim is compiled onto it at the first start with a bun: without room workers start more slowly",
    ),
    ("listener", "it is where clients are answered"),
    (
        "http listener",
        "it leads clients without TLS to the port with it, and answers certificate authorities",
    ),
    ("admin socket", "the commands of this machine speak to the runtime there, without a key"),
    (
        "descriptors",
        "each connection takes one and each worker some: without any, nobody is accepted and no app starts",
    ),
    ("processes", "each worker is a process with several threads: without any left no app starts"),
    ("file watches", "with them a change on disk is noticed at once, otherwise once a minute"),
    (
        "backlog",
        "so many may connect in the moment in which the runtime is restarted or busy; others are refused",
    ),
    ("landlock", "it keeps apps from signalling each other and from looking into each other"),
    ("pidfd", "by it the end of a worker is noticed, and nobody else's process is signalled"),
    ("close_range", "by it workers inherit nothing of the runtime"),
    (
        "user namespaces",
        "in them the state directory and other apps' data are hidden from apps where the runtime is not root",
    ),
    (
        "capabilities",
        "root takes them to run apps as another user, to hide files from them, to measure and to end them, and to clean up after them",
    ),
    ("descendants", "a process that nobody ends holds its memory and perhaps a port"),
    ("seccomp", "`permissions` of an app that take it are refused without"),
    ("cgroup v2", "with it an app's memory, processes and processor time can be bounded"),
];

pub fn why(name: &str) -> &'static str {
    WHY.iter().find(|(known, _)| *known == name).map_or("", |(_, why)| why)
}
