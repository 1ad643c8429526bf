//! Whether a file that holds a secret is its reader's alone.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// The mode of a file that others than this user may do something with. None = none may. A file of root's may be read by its group,
/// as PostgreSQL has it too: that is how a user who is not root gets it, such as in a container from a secret of Kubernetes.
pub fn mode_for_others(meta: &Metadata) -> Option<u32> {
    let reader = nix::unistd::geteuid().as_raw();
    Some(meta.mode() & 0o7777).filter(|mode| is_open(*mode, meta.uid(), reader))
}

fn is_open(mode: u32, owner: u32, reader: u32) -> bool {
    let of_others = if owner == 0 && reader != 0 { 0o037 } else { 0o077 };
    mode & of_others != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_for_its_owner_and_one_of_roots_for_its_group_to_read() {
        for (mode, own, of_root) in [
            (0o600, false, false),
            (0o400, false, false),
            (0o640, true, false),
            (0o440, true, false),
            (0o660, true, true),
            (0o650, true, true),
            (0o644, true, true),
            (0o604, true, true),
            (0o601, true, true),
        ] {
            for (owner, reader, open) in [(1000, 1000, own), (0, 0, own), (1000, 0, own), (0, 1000, of_root)]
            {
                assert_eq!(is_open(mode, owner, reader), open, "{mode:04o} of {owner} for {reader}");
            }
        }
    }
}
