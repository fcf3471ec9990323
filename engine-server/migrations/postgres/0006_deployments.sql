-- One row for each deployment: its versions and its routing, as one value that is replaced as a whole over a known revision. Few, and
-- written when a build first connects or an operator says so; read as a whole by every server.
CREATE TABLE engine.deployment (
    revision     int8 NOT NULL,
    namespace_id int4 NOT NULL,
    name         text COLLATE "C" NOT NULL,
    deployment   bytea NOT NULL,
    PRIMARY KEY (namespace_id, name)
);
