-- What runs are listed by beyond what every run has, and what is known of namespaces.

-- Search attributes as JSON, as store/attributes.rs writes them; null for most runs.
ALTER TABLE execution ADD COLUMN attributes TEXT;

-- Retention, registered search attributes and the like, as the server encodes them. `version` counts updates.
ALTER TABLE namespace ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE namespace ADD COLUMN settings BLOB NOT NULL DEFAULT x'';
