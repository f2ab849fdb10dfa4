//! What every long-running program shares: logs, readiness and drain guards, configuration.
