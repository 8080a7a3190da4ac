"""Tables of the bridge's database."""

from __future__ import annotations

VERSION = 1
"""Version of the tables, as the database's ``user_version``."""
SCHEMA = f"""
BEGIN;
CREATE TABLE IF NOT EXISTS study (
  study_uid TEXT PRIMARY KEY,
  phase TEXT NOT NULL CHECK (phase IN ('waiting', 'incomplete', 'ready', 'answered', 'stored', 'refused')),
  content TEXT NOT NULL,
  instances INTEGER,
  changed_at REAL NOT NULL,
  choice TEXT NOT NULL DEFAULT '',
  attempts INTEGER NOT NULL DEFAULT 0,
  not_before REAL NOT NULL DEFAULT 0,
  code TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS study_by_phase ON study (phase, not_before, changed_at);
CREATE TABLE IF NOT EXISTS answer (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  study_uid TEXT NOT NULL REFERENCES study,
  content TEXT NOT NULL,
  choice TEXT NOT NULL,
  model_version TEXT NOT NULL,
  model_digest TEXT NOT NULL,
  report_class TEXT NOT NULL,
  report_series TEXT NOT NULL,
  report_uid TEXT NOT NULL,
  supersedes INTEGER REFERENCES answer,
  made_at REAL NOT NULL,
  stored_at REAL,
  UNIQUE (study_uid, choice, model_version)
);
CREATE TABLE IF NOT EXISTS result (
  sop_uid TEXT NOT NULL,
  answer INTEGER NOT NULL REFERENCES answer,
  PRIMARY KEY (sop_uid, answer)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS received (
  study_uid TEXT NOT NULL,
  series_uid TEXT NOT NULL,
  sop_uid TEXT NOT NULL,
  PRIMARY KEY (study_uid, sop_uid)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  line TEXT NOT NULL
);
PRAGMA user_version = {VERSION};
COMMIT;
"""
"""Statements that make the tables where they are missing, all or none."""
