//! What can be wrong with a package, each with a stable code.

use std::borrow::Cow;
use std::io;

/// Why a package was refused. The names that [`Code::as_str`] gives are part of the interface: programs compare them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The first bytes are those of no archive that is taken.
    UnknownKind,
    /// It ends too early.
    Truncated,
    /// What it says cannot be.
    Corrupt,
    /// The contents are not those that its checksum stands for.
    Checksum,
    /// Something stands behind its end.
    TrailingData,
    /// It has no files.
    Empty,
    Encrypted,
    /// A way of compressing, or a kind of record, that is not known here.
    Unsupported,
    /// A zip says two different things of one entry.
    HeadersDisagree,
    /// Two entries of a zip share bytes.
    Overlap,
    /// To unpack it would take more memory than is allowed.
    WindowTooLarge,
    TooManyEntries,
    TotalTooLarge,
    FileTooLarge,
    /// It unpacks to many times its size.
    Ratio,
    /// An entry has more, or less, than the size it states.
    SizeMismatch,
    PathTooLong,
    ComponentTooLong,
    TooDeep,
    PathEmpty,
    PathAbsolute,
    /// `..`
    PathTraversal,
    /// An empty or a `.` component.
    PathComponent,
    PathDrive,
    PathBackslash,
    PathControl,
    PathNotUtf8,
    SymbolicLink,
    HardLink,
    /// A device, a fifo, a socket.
    SpecialFile,
    Sparse,
    Duplicate,
    /// Two names that some file systems hold for one.
    NameClash,
    /// One name is a file and a directory.
    FileAndDirectory,
    NameMissing,
    NameInvalid,
    VersionMissing,
    VersionInvalid,
    ManifestInvalid,
    EntrypointMissing,
    EntrypointInvalid,
    /// Another file that an app is read from is wrong.
    AppInvalid,
    AlreadyThere,
    /// The place for it cannot be used.
    Place,
    /// The file system cannot exchange two directories.
    ReplaceUnsupported,
    /// Of `pack`: a link that leads out of the directory, or to what is left out.
    LinkOutside,
    /// Of `pack`: a link to a directory.
    LinkToDirectory,
    /// Of `pack`: a file that changed meanwhile.
    Changed,
    /// Of `pack`: a line of the ignore list that is not understood.
    IgnoreList,
    /// A fault of this machine, not of the package.
    Io,
}

/// Why a package was refused: what happened, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct PackageError {
    pub code: Code,
    /// Names of entries are escaped in it.
    pub message: String,
    pub hint: Option<Cow<'static, str>>,
    #[source]
    pub cause: Option<io::Error>,
}

impl PackageError {
    pub(super) fn new(code: Code, message: impl Into<String>) -> PackageError {
        PackageError { code, message: message.into(), hint: None, cause: None }
    }

    /// A fault of the machine while it did `what` ("write `a/b`").
    pub(super) fn io(what: impl std::fmt::Display, cause: impl Into<io::Error>) -> PackageError {
        let cause = cause.into();
        let mut error = PackageError::new(Code::Io, format!("cannot {what}: {cause}"));
        error.cause = Some(cause);
        error
    }

    pub(super) fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> PackageError {
        self.hint = Some(hint.into());
        self
    }
}

impl Code {
    pub fn as_str(self) -> &'static str {
        match self {
            Code::UnknownKind => "package_unknown_kind",
            Code::Truncated => "package_truncated",
            Code::Corrupt => "package_corrupt",
            Code::Checksum => "package_checksum",
            Code::TrailingData => "package_trailing_data",
            Code::Empty => "package_empty",
            Code::Encrypted => "package_encrypted",
            Code::Unsupported => "package_unsupported",
            Code::HeadersDisagree => "package_headers_disagree",
            Code::Overlap => "package_overlap",
            Code::WindowTooLarge => "package_window_too_large",
            Code::TooManyEntries => "package_too_many_entries",
            Code::TotalTooLarge => "package_total_too_large",
            Code::FileTooLarge => "package_file_too_large",
            Code::Ratio => "package_ratio",
            Code::SizeMismatch => "package_size_mismatch",
            Code::PathTooLong => "package_path_too_long",
            Code::ComponentTooLong => "package_component_too_long",
            Code::TooDeep => "package_too_deep",
            Code::PathEmpty => "package_path_empty",
            Code::PathAbsolute => "package_path_absolute",
            Code::PathTraversal => "package_path_traversal",
            Code::PathComponent => "package_path_component",
            Code::PathDrive => "package_path_drive",
            Code::PathBackslash => "package_path_backslash",
            Code::PathControl => "package_path_control",
            Code::PathNotUtf8 => "package_path_not_utf8",
            Code::SymbolicLink => "package_symbolic_link",
            Code::HardLink => "package_hard_link",
            Code::SpecialFile => "package_special_file",
            Code::Sparse => "package_sparse",
            Code::Duplicate => "package_duplicate",
            Code::NameClash => "package_name_clash",
            Code::FileAndDirectory => "package_file_and_directory",
            Code::NameMissing => "package_name_missing",
            Code::NameInvalid => "package_name_invalid",
            Code::VersionMissing => "package_version_missing",
            Code::VersionInvalid => "package_version_invalid",
            Code::ManifestInvalid => "package_manifest_invalid",
            Code::EntrypointMissing => "package_entrypoint_missing",
            Code::EntrypointInvalid => "package_entrypoint_invalid",
            Code::AppInvalid => "package_app_invalid",
            Code::AlreadyThere => "package_already_there",
            Code::Place => "package_place",
            Code::ReplaceUnsupported => "package_replace_unsupported",
            Code::LinkOutside => "package_link_outside",
            Code::LinkToDirectory => "package_link_to_directory",
            Code::Changed => "package_changed",
            Code::IgnoreList => "package_ignore_list",
            Code::Io => "package_io",
        }
    }
}
