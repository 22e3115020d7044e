//! The selection of files of a directory.

use globset::{Glob, GlobSet, GlobSetBuilder};

/// Globs over the paths of a directory. `*` does not cross `/`, `**` does; a glob without `/` matches the
/// file name.
///
/// ```
/// use swarm_core::content::select::Select;
///
/// let select = Select::new(&["*.mkv".to_owned()], &["extras/**".to_owned()])?;
/// assert!(select.wants("season 1/pilot.mkv"));
/// assert!(!select.wants("extras/trailer.mkv") && !select.wants("readme.txt"));
/// # Ok::<(), swarm_core::content::select::BadGlob>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Select {
    include: Option<GlobSet>,
    exclude: Option<GlobSet>,
}

/// A glob that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a glob: {0}")]
pub struct BadGlob(String);

impl Select {
    /// Returns the selection of paths that match one of `include` (all paths if there are none) and none of
    /// `exclude`.
    ///
    /// # Errors
    /// [`BadGlob`] names the glob that cannot be read.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, BadGlob> {
        Ok(Self { include: set(include)?, exclude: set(exclude)? })
    }

    /// Returns true if everything is selected.
    #[must_use]
    pub const fn is_everything(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }

    /// Returns true if this path is selected.
    #[must_use]
    pub fn wants(&self, path: &str) -> bool {
        let matches = |set: &GlobSet| set.is_match(path);
        self.include.as_ref().is_none_or(matches) && !self.exclude.as_ref().is_some_and(matches)
    }
}

fn set(globs: &[String]) -> Result<Option<GlobSet>, BadGlob> {
    if globs.is_empty() {
        return Ok(None);
    }
    let mut builder = GlobSetBuilder::new();
    for glob in globs {
        let anywhere = if glob.contains('/') { glob.clone() } else { format!("**/{glob}") };
        let built = globset::GlobBuilder::new(&anywhere).literal_separator(true).build();
        builder.add(built.map_err(|e| BadGlob(e.to_string()))?);
        // A folder's name stands for everything in it.
        let within = format!("{}/**", anywhere.trim_end_matches('/'));
        builder.add(Glob::new(&within).map_err(|e| BadGlob(e.to_string()))?);
    }
    builder.build().map(Some).map_err(|e| BadGlob(e.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn select(include: &[&str], exclude: &[&str]) -> Select {
        let own = |globs: &[&str]| globs.iter().map(|g| (*g).to_owned()).collect::<Vec<_>>();
        Select::new(&own(include), &own(exclude)).unwrap()
    }

    #[test]
    fn globs() {
        let all = select(&[], &[]);
        assert!(all.is_everything() && all.wants("a/b"));
        let text = select(&["*.txt"], &["old"]);
        assert!(text.wants("a.txt") && text.wants("x/y/a.txt"));
        assert!(!text.wants("a.bin") && !text.wants("old/a.txt") && !text.wants("x/old/a.txt"));
        let folder = select(&["docs"], &[]);
        assert!(folder.wants("docs/a/b") && !folder.wants("src/a"));
        let deep = select(&["src/*.rs"], &[]);
        assert!(deep.wants("src/a.rs") && !deep.wants("src/x/a.rs"));
        assert!(Select::new(&["a{".into()], &[]).is_err());
    }
}
