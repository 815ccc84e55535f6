BEGIN TRANSACTION;
CREATE TABLE epoch (
	id INTEGER NOT NULL, 
	epoch BIGINT NOT NULL, 
	last_row BIGINT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "epoch" VALUES(1,1795661915,4);
CREATE TABLE models (
	position INTEGER NOT NULL, 
	simulation TEXT NOT NULL, 
	run BIGINT NOT NULL, 
	model TEXT NOT NULL, 
	recollection TEXT NOT NULL, 
	image TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	since DATETIME NOT NULL, 
	state TEXT NOT NULL, 
	attempt BIGINT NOT NULL, 
	deployed BIGINT, 
	ready BOOLEAN NOT NULL, 
	exit_code BIGINT, 
	reason TEXT, 
	message TEXT NOT NULL, 
	started_at DATETIME, 
	finished_at DATETIME, 
	node TEXT NOT NULL, 
	lines TEXT NOT NULL, 
	warnings TEXT NOT NULL, 
	PRIMARY KEY (position), 
	CONSTRAINT models_key UNIQUE (simulation, run, model)
);
INSERT INTO "models" VALUES(1,'sim02-abc',1,'süd-1','{"format": 1, "simulation": "sim02-abc", "run": 1, "model": "s\u00fcd-1", "attempt": 1, "createdAt": "2026-11-26T09:00:00+00:00", "since": "2026-11-26T09:00:00+00:00", "spec": {"image": "fake_model:0.0.1", "environment": [["MODEL_ID", "s\u00fcd-1", "", ""]], "resources": null, "readyTimeout": null, "maxRuntime": null, "retries": 0, "command": [], "args": [], "type": "", "version": ""}, "request": {"simulator": "dots-so", "simulatorId": "dots-so-0", "protocolVersion": 2, "keepLogs": 3600000000, "failurePolicy": "keep-others", "moreToCome": false, "requestId": "r-1", "digest": "d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1"}}','fake_model:0.0.1','2026-11-26 09:00:00.000000','2026-11-26 09:01:05.000000','succeeded',1,1,1,0,'Completed','','2026-11-26 09:00:01.000000','2026-11-26 09:01:05.000000','','[]','[]');
INSERT INTO "models" VALUES(2,'sim02-abc',2,'heat pump','{"format": 1, "simulation": "sim02-abc", "run": 2, "model": "heat pump", "attempt": 1, "createdAt": "2026-11-26T10:02:06+00:00", "since": "2026-11-26T10:02:06+00:00", "spec": {"image": "registry.example.org/heat-pump:2.1", "environment": [["MODEL_ID", "heat pump", "", ""], ["PASSWORD", "", "broker", "password"]], "resources": {"cpuRequest": "500m", "memoryRequest": "1Gi", "cpuLimit": "2", "memoryLimit": "2Gi", "gpus": 1}, "readyTimeout": 90000000, "maxRuntime": 7200000000, "retries": 2, "command": ["python", "-m", "heat_pump"], "args": ["--fast"], "type": "", "version": ""}, "request": {"simulator": "dots-so", "simulatorId": "dots-so-0", "protocolVersion": 2, "keepLogs": 3600000000, "failurePolicy": "keep-others", "moreToCome": false, "requestId": "r-2", "digest": "d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2"}}','registry.example.org/heat-pump:2.1','2026-11-26 10:02:06.000000','2026-11-26 10:02:13.000000','running',2,2,1,NULL,NULL,'',NULL,NULL,'','[]','[]');
INSERT INTO "models" VALUES(3,'sim02-abc',2,'süd-1','{"format": 1, "simulation": "sim02-abc", "run": 2, "model": "s\u00fcd-1", "attempt": 1, "createdAt": "2026-11-26T10:02:06+00:00", "since": "2026-11-26T10:02:06+00:00", "spec": {"image": "fake_model:0.0.1", "environment": [["MODEL_ID", "s\u00fcd-1", "", ""]], "resources": null, "readyTimeout": null, "maxRuntime": null, "retries": 0, "command": [], "args": [], "type": "", "version": ""}, "request": {"simulator": "dots-so", "simulatorId": "dots-so-0", "protocolVersion": 2, "keepLogs": 3600000000, "failurePolicy": "keep-others", "moreToCome": false, "requestId": "r-2", "digest": "d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2"}}','fake_model:0.0.1','2026-11-26 10:02:06.000000','2026-11-26 10:02:13.000000','running',1,1,1,NULL,NULL,'',NULL,NULL,'','[]','[]');
INSERT INTO "models" VALUES(4,'sim02-abc',2,'lost','{"format": 1, "simulation": "sim02-abc", "run": 2, "model": "lost", "attempt": 1, "createdAt": "2026-11-26T10:02:06+00:00", "since": "2026-11-26T10:02:06+00:00", "spec": {"image": "fake_model:0.0.1", "environment": [], "resources": null, "readyTimeout": null, "maxRuntime": null, "retries": 0, "command": [], "args": [], "type": "", "version": ""}, "request": {"simulator": "dots-so", "simulatorId": "dots-so-0", "protocolVersion": 2, "keepLogs": 3600000000, "failurePolicy": "keep-others", "moreToCome": false, "requestId": "r-2", "digest": "d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2"}}','fake_model:0.0.1','2026-11-26 10:02:06.000000','2026-11-26 10:02:43.000000','failed',1,1,0,137,'OOMKilled','it used more memory than its limit','2026-11-26 10:02:13.000000','2026-11-26 10:02:43.000000','node-b','["allocating 4 GiB", "Killed"]','["OOMKilling: memory cgroup out of memory"]');
INSERT INTO "models" VALUES(5,'sim02-abc',2,'waits','{"format": 1, "simulation": "sim02-abc", "run": 2, "model": "waits", "attempt": 1, "createdAt": "2026-11-26T10:02:06+00:00", "since": "2026-11-26T10:02:06+00:00", "spec": {"image": "fake_model:0.0.1", "environment": [], "resources": null, "readyTimeout": null, "maxRuntime": null, "retries": 0, "command": [], "args": [], "type": "", "version": ""}, "request": {"simulator": "dots-so", "simulatorId": "dots-so-0", "protocolVersion": 2, "keepLogs": 3600000000, "failurePolicy": "keep-others", "moreToCome": false, "requestId": "r-2", "digest": "d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2"}}','fake_model:0.0.1','2026-11-26 10:02:06.000000','2026-11-26 10:02:06.000000','created',1,NULL,0,NULL,NULL,'',NULL,NULL,'','[]','[]');
CREATE TABLE mso_revision (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT mso_revision_pkc PRIMARY KEY (version_num)
);
INSERT INTO "mso_revision" VALUES('0001');
CREATE TABLE notes (
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE outbox (
	number INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	simulation TEXT NOT NULL, 
	run BIGINT, 
	about TEXT NOT NULL, 
	topic TEXT NOT NULL, 
	payload BLOB NOT NULL, 
	held BOOLEAN NOT NULL, 
	witness TEXT NOT NULL, 
	done BOOLEAN NOT NULL, 
	withheld BOOLEAN NOT NULL, 
	PRIMARY KEY (number)
);
INSERT INTO "outbox" VALUES(1,'TERMINATION','sim02-abc',1,'süd-1','/lifecycle/mso/dots-so/sim02-abc/süd-1/ModelHasTerminated',X'',0,'',1,0);
INSERT INTO "outbox" VALUES(2,'ALL_TERMINATED','sim02-abc',1,'','/lifecycle/mso/dots-so/sim02-abc/AllModelsHaveTerminated',X'',0,'',1,0);
INSERT INTO "outbox" VALUES(3,'MODELS_READY','other',1,'','/lifecycle/mso/dots-so/other/ModelsReady',X'',0,'6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f',0,0);
INSERT INTO "outbox" VALUES(4,'TERMINATION','sim02-abc',2,'lost','/lifecycle/mso/dots-so/sim02-abc/lost/ModelHasTerminated',X'0801108901',1,'',0,0);
CREATE TABLE requests (
	kept INTEGER NOT NULL, 
	simulation TEXT NOT NULL, 
	run BIGINT NOT NULL, 
	digest TEXT NOT NULL, 
	request_id TEXT NOT NULL, 
	delivery BIGINT NOT NULL, 
	fingerprint TEXT NOT NULL, 
	PRIMARY KEY (kept), 
	CONSTRAINT requests_key UNIQUE (simulation, run, fingerprint)
);
INSERT INTO "requests" VALUES(1,'sim02-abc',1,'d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1','r-1',0,'30aedb4fa63d87e54a71b7ecfb351cbc54e96356ac0fb85f3eaae4431b19f832');
INSERT INTO "requests" VALUES(2,'sim02-abc',2,'d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2','r-2',0,'fbabb2b5c273336f4a5ecd5879408d0a16170360897ddb939d77114f40aab5e2');
CREATE TABLE runs (
	opened INTEGER NOT NULL, 
	simulation TEXT NOT NULL, 
	run BIGINT NOT NULL, 
	simulator TEXT NOT NULL, 
	simulator_id TEXT NOT NULL, 
	protocol_version BIGINT NOT NULL, 
	keep_logs BIGINT NOT NULL, 
	failure_policy TEXT NOT NULL, 
	more_to_come BOOLEAN NOT NULL, 
	request_id TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	announced BOOLEAN NOT NULL, 
	stopping BOOLEAN NOT NULL, 
	removing_since DATETIME, 
	ended_at DATETIME, 
	reported_at DATETIME, 
	forgotten_at DATETIME, 
	PRIMARY KEY (opened), 
	CONSTRAINT runs_key UNIQUE (simulation, run)
);
INSERT INTO "runs" VALUES(1,'sim02-abc',1,'dots-so','dots-so-0',2,3600000000,'keep-others',0,'r-1','d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1',1,0,NULL,'2026-11-26 09:01:05.000000','2026-11-26 09:01:06.000000','2026-11-26 02:58:34.693374');
INSERT INTO "runs" VALUES(2,'sim02-abc',2,'dots-so','dots-so-0',2,3600000000,'keep-others',0,'r-2','d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2',0,0,NULL,NULL,NULL,NULL);
CREATE INDEX runs_forgotten_at ON runs (forgotten_at);
CREATE INDEX outbox_run ON outbox (simulation, run);
COMMIT;
