//! The seam to the operating system: every call of the crate that differs between systems.
//!
//! Each system is one module with the same functions and types, and this file picks the one that is compiled.
//! The other modules name neither `rustix` nor `std::os`: they call what is exported here. Errors are plain
//! [`std::io::Error`] values; the callers add verbs and paths.
//! Today there is the module for Unix, which is tested on Linux. The workspace forbids unsafe code, so a
//! further module must do with safe calls too.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;

#[cfg(not(unix))]
compile_error!("core/src/platform/ has no module for this system");

pub(crate) use system::endpoint::{
    ControlEndpoint, ControlListener, ControlReader, ControlStream, ControlWriter, connect, is_trusted,
    listen, listen_outside, peer_process, remove_endpoint,
};
pub(crate) use system::files::{
    DEVICES, SystemCopy, allocated_bytes, can_read, changed_at, copy_by_system, create_new,
    create_private_folders, device, each_written, free_bytes, inode, is_device, is_out_of_files, is_own,
    leave_hole, make_ordinary, meddlers, modified_at, names, never_wait, open_in_place, open_itself_to_write,
    open_without_waiting, path_bytes, path_from_bytes, permissions, sync_file_system, sync_names, try_lock,
    with_mode, withdraw_rights,
};
pub(crate) use system::folder::{FileStat, FolderEntry, FolderHandle, rename_new, stat_at, stat_of};
pub(crate) use system::positions::{read_exact_at, write_all_at, write_all_of};
pub(crate) use system::process::{boot, machine_name, open_files_limit, process_state};
pub(crate) use system::sockets::{limit_unsent, share_port};

/// Reason why a name was not given to a file or folder.
#[derive(Debug)]
pub(crate) enum NotPut {
    /// Something has that name already.
    Taken,
    /// The disk failed.
    Disk(std::io::Error),
}

impl From<std::io::Error> for NotPut {
    fn from(error: std::io::Error) -> Self {
        Self::Disk(error)
    }
}

/// State of a process, as far as it explains why the process is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProcessState {
    /// Stopped by a signal or a debugger.
    Stopped,
    /// Waiting for its disk.
    Disk,
    /// Anything else, or unknown.
    Unclear,
}
