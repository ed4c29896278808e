//! How tables come to be, and change.

/// One step of a crate's tables from one version to the next.
///
/// Steps only ever get appended: what was released stays as it was. A step adds, and takes nothing away that the version
/// before reads or writes: its nodes go on beside those of this one until they are replaced. The store remembers per component how
/// far it is and runs each further step in a transaction of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Whose tables: the crate's name.
    pub component: &'static str,
    /// The version that this step makes; the first is 1, each next is one more.
    pub version: u32,
    /// The statements, separated by semicolons.
    pub sql: &'static str,
}
