//! What mdBook merely warns of (a tag that is not closed, say) is an error here.
use anyhow::Result;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Does `work`; returns the warnings that were logged meanwhile on this thread.
///
/// # Errors
/// Those of `work`.
pub fn during(work: impl FnOnce() -> Result<()>) -> Result<Vec<String>> {
    let collected = Arc::new(Mutex::new(vec![]));
    let collector = tracing_subscriber::registry().with(Collector(collected.clone()));
    tracing::subscriber::with_default(collector, work)?;
    let mut collected = collected.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut *collected))
}

struct Collector(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Collector {
    fn on_event(&self, event: &Event, _: Context<S>) {
        if *event.metadata().level() > Level::WARN {
            return;
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(message.0);
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn warnings_are_kept_and_nothing_else() {
        let warnings = super::during(|| {
            tracing::info!("fine");
            tracing::warn!(page = 3, "odd");
            tracing::error!("bad");
            Ok(())
        });
        assert_eq!(warnings.unwrap(), ["odd", "bad"]);
    }
}
