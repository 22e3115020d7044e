//! Writing the state of an office to disk.

use std::time::Instant;

use super::OfficeState;
use crate::membership::files;

impl OfficeState {
    /// Begins to write the directory, unless it is being written. It may be large, so a blocking thread
    /// writes it.
    pub(super) fn save_members(&mut self) {
        // Two writes at once might end with the older one.
        if self.saving.as_ref().is_some_and(|saving| !saving.is_finished()) {
            return;
        }
        self.saved = Instant::now();
        self.members.unsaved = false;
        let (store, members) = (self.store.clone(), self.members.clone());
        let save = move || {
            if let Err(error) = files::keep_members(&store, &members) {
                tracing::warn!(%error, "the members that were met cannot be kept");
            }
        };
        self.saving = Some(tokio::task::spawn_blocking(save));
    }

    /// Writes everything that is not on disk yet. The state is not used afterwards.
    pub(crate) async fn close(&mut self) {
        self.write_down();
        for _ in 0..2 {
            if let Some(saving) = self.saving.take() {
                let _ = saving.await;
            }
            if self.members.unsaved {
                self.save_members();
            }
        }
    }

    /// Writes the believed statements if they have changed. One write covers all changes since the last one.
    pub(super) fn write_down(&mut self) {
        if !std::mem::take(&mut self.unwritten) {
            return;
        }
        if let Err(error) = files::keep_book(&self.store, &self.book) {
            tracing::error!(%error, "what the office says cannot be kept");
            self.unwritten = true;
        }
    }
}
