BEGIN TRANSACTION;
CREATE TABLE artifacts (
	digest VARCHAR NOT NULL, 
	media_type VARCHAR NOT NULL, 
	bytes BIGINT NOT NULL, 
	PRIMARY KEY (digest)
);
CREATE TABLE ledger_holds (
	id VARCHAR NOT NULL, 
	"key" VARCHAR NOT NULL, 
	scope VARCHAR NOT NULL, 
	owner VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	reserved TEXT NOT NULL, 
	booked TEXT, 
	overrun TEXT, 
	taken_ms BIGINT NOT NULL, 
	closed_ms BIGINT, 
	PRIMARY KEY (id)
);
INSERT INTO "ledger_holds" VALUES('5fc93bd8efd64a978a32e9a488d56564','work-0c708cd73b/one/0/d9d719b27480b55c/1','run:work-0c708cd73b','8f58693f663845569df31b24ad16e9ae','settled','{"tokens":5,"micro_usd":0,"gpu_ms":0,"frames":0,"wall_ms":1000}','{"tokens":0,"micro_usd":0,"gpu_ms":0,"frames":0,"wall_ms":1}','{"tokens":0,"micro_usd":0,"gpu_ms":0,"frames":0,"wall_ms":0}',1795559894882,1795559894886);
INSERT INTO "ledger_holds" VALUES('b051ee1a8d8f41a6a763a0b84b51a92e','work-1b4e623f01/one/0/d9d719b27480b55c/1','run:work-1b4e623f01','8f58693f663845569df31b24ad16e9ae','settled','{"tokens":5,"micro_usd":0,"gpu_ms":0,"frames":0,"wall_ms":1000}','{"tokens":0,"micro_usd":0,"gpu_ms":0,"frames":0,"wall_ms":0}','{"tokens":0,"micro_usd":0,"gpu_ms":0,"frames":0,"wall_ms":0}',1795559894947,1795559894950);
CREATE TABLE ledger_scopes (
	id VARCHAR NOT NULL, 
	parent VARCHAR, 
	cap_tokens BIGINT NOT NULL, 
	held_tokens BIGINT NOT NULL, 
	spent_tokens BIGINT NOT NULL, 
	cap_micro_usd BIGINT NOT NULL, 
	held_micro_usd BIGINT NOT NULL, 
	spent_micro_usd BIGINT NOT NULL, 
	cap_gpu_ms BIGINT NOT NULL, 
	held_gpu_ms BIGINT NOT NULL, 
	spent_gpu_ms BIGINT NOT NULL, 
	cap_frames BIGINT NOT NULL, 
	held_frames BIGINT NOT NULL, 
	spent_frames BIGINT NOT NULL, 
	cap_wall_ms BIGINT NOT NULL, 
	held_wall_ms BIGINT NOT NULL, 
	spent_wall_ms BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	CONSTRAINT tokens_within_cap CHECK (held_tokens >= 0 AND spent_tokens >= 0 AND held_tokens <= cap_tokens - spent_tokens), 
	CONSTRAINT micro_usd_within_cap CHECK (held_micro_usd >= 0 AND spent_micro_usd >= 0 AND held_micro_usd <= cap_micro_usd - spent_micro_usd), 
	CONSTRAINT gpu_ms_within_cap CHECK (held_gpu_ms >= 0 AND spent_gpu_ms >= 0 AND held_gpu_ms <= cap_gpu_ms - spent_gpu_ms), 
	CONSTRAINT frames_within_cap CHECK (held_frames >= 0 AND spent_frames >= 0 AND held_frames <= cap_frames - spent_frames), 
	CONSTRAINT wall_ms_within_cap CHECK (held_wall_ms >= 0 AND spent_wall_ms >= 0 AND held_wall_ms <= cap_wall_ms - spent_wall_ms)
);
INSERT INTO "ledger_scopes" VALUES('project',NULL,4611686018427387904,0,0,4611686018427387904,0,0,4611686018427387904,0,0,4611686018427387904,0,0,4611686018427387904,0,1);
INSERT INTO "ledger_scopes" VALUES('run:work-0c708cd73b','project',4611686018427387904,0,0,4611686018427387904,0,0,4611686018427387904,0,0,4611686018427387904,0,0,4611686018427387904,0,1);
INSERT INTO "ledger_scopes" VALUES('run:work-1b4e623f01','project',4611686018427387904,0,0,4611686018427387904,0,0,4611686018427387904,0,0,4611686018427387904,0,0,4611686018427387904,0,0);
CREATE TABLE run_artifacts (
	run_id VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	step VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	meta TEXT NOT NULL, 
	made_ms BIGINT NOT NULL, 
	PRIMARY KEY (run_id, digest, step, name)
);
CREATE TABLE runs (
	id VARCHAR NOT NULL, 
	workflow VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	inputs TEXT NOT NULL, 
	seed BIGINT NOT NULL, 
	status VARCHAR NOT NULL, 
	started_ms BIGINT NOT NULL, 
	ended_ms BIGINT, 
	error TEXT, 
	error_kind VARCHAR, 
	outputs TEXT, 
	manifest TEXT, 
	trace_path VARCHAR, 
	PRIMARY KEY (id)
);
INSERT INTO "runs" VALUES('work-0c708cd73b','work','1b942a1d1cab66b16c43b2694c508b38702569b7ecb4bb05c816fef78934b53f','{"n": "x"}',0,'waiting',1795559893972,NULL,NULL,NULL,NULL,NULL,'project/.agentflow/runs/work-0c708cd73b/trace.jsonl');
INSERT INTO "runs" VALUES('work-1b4e623f01','work','1b942a1d1cab66b16c43b2694c508b38702569b7ecb4bb05c816fef78934b53f','{"n": "x"}',0,'running',1795559894919,NULL,NULL,NULL,NULL,NULL,'project/.agentflow/runs/work-1b4e623f01/trace.jsonl');
CREATE TABLE scores (
	id INTEGER NOT NULL, 
	run_id VARCHAR NOT NULL, 
	step_key VARCHAR NOT NULL, 
	scorer VARCHAR NOT NULL, 
	value FLOAT, 
	record TEXT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE steps (
	"key" VARCHAR NOT NULL, 
	run_id VARCHAR NOT NULL, 
	path VARCHAR NOT NULL, 
	iteration VARCHAR NOT NULL, 
	input_digest VARCHAR NOT NULL, 
	status VARCHAR NOT NULL, 
	envelope TEXT NOT NULL, 
	started_ms BIGINT NOT NULL, 
	ended_ms BIGINT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "steps" VALUES('fa3b008ea71569b933b7536ceb09ae4b3430e6c462a8f3992b8326a3a052cbc5','work-0c708cd73b','input','','da26b77c63be797b6a3dff729e14bef642c1c8138ef3529f5dda609bffb0fd6c','ok','{"status":"ok","output":{"n":"x"},"error":null,"error_kind":null,"usage":{"tokens":0,"micro_usd":0,"gpu_ms":0,"frames":0,"wall_ms":0},"attempts":1,"verdicts":[],"scores":[],"artifacts":[],"rungs":[]}',1795559893980,1795559893981);
INSERT INTO "steps" VALUES('9804e85ff7bd57eb050e58db707eaec343013d0fb18aef78d141f8ba3eb51c27','work-0c708cd73b','one','0','d9d719b27480b55cd4918020e7473e716ed3569c8adafe926cf9b10b4f8ef064','ok','{"status":"ok","output":{"name":"a"},"error":null,"error_kind":null,"usage":{"tokens":0,"micro_usd":0,"gpu_ms":0,"frames":0,"wall_ms":1},"attempts":1,"verdicts":[],"scores":[],"artifacts":[],"rungs":[]}',1795559894874,1795559894888);
INSERT INTO "steps" VALUES('c24e9983a0c79b298821b6119faa995220003f218b095351cb607a54baec824d','work-1b4e623f01','input','','da26b77c63be797b6a3dff729e14bef642c1c8138ef3529f5dda609bffb0fd6c','ok','{"status":"ok","output":{"n":"x"},"error":null,"error_kind":null,"usage":{"tokens":0,"micro_usd":0,"gpu_ms":0,"frames":0,"wall_ms":0},"attempts":1,"verdicts":[],"scores":[],"artifacts":[],"rungs":[]}',1795559894920,1795559894921);
INSERT INTO "steps" VALUES('0435eeb5dc2f5b092c6c6f5a73d7eb58948f0026507d5bab80c66ffe3c5d7396','work-1b4e623f01','one','0','d9d719b27480b55cd4918020e7473e716ed3569c8adafe926cf9b10b4f8ef064','ok','{"status":"ok","output":{"name":"a"},"error":null,"error_kind":null,"usage":{"tokens":0,"micro_usd":0,"gpu_ms":0,"frames":0,"wall_ms":0},"attempts":1,"verdicts":[],"scores":[],"artifacts":[],"rungs":[]}',1795559894946,1795559894950);
INSERT INTO "steps" VALUES('ead3e74230d3c3e8ba310c0dbdf14595664dae75fea2b0e5447e5d4a339aa317','work-1b4e623f01','ask','0','74a0e238f414a15b4d16f276311c26d9d5c66b12f8fff96295a8d797cdc00f7b','ok','{"status":"ok","output":{"decision":"approve","by":"ann","comment":"go"},"error":null,"error_kind":null,"usage":{"tokens":0,"micro_usd":0,"gpu_ms":0,"frames":0,"wall_ms":0},"attempts":1,"verdicts":[],"scores":[],"artifacts":[],"rungs":[]}',1795559894994,1795559894995);
CREATE TABLE verdicts (
	id INTEGER NOT NULL, 
	run_id VARCHAR NOT NULL, 
	step_key VARCHAR NOT NULL, 
	guardrail VARCHAR NOT NULL, 
	hook VARCHAR NOT NULL, 
	verdict VARCHAR NOT NULL, 
	action VARCHAR NOT NULL, 
	record TEXT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE INDEX ix_runs_workflow ON runs (workflow);
CREATE INDEX ix_steps_run_id ON steps (run_id);
CREATE INDEX ix_verdicts_run_id ON verdicts (run_id);
CREATE INDEX ix_scores_run_id ON scores (run_id);
CREATE INDEX ix_ledger_scopes_parent ON ledger_scopes (parent);
CREATE UNIQUE INDEX one_open_hold_per_key ON ledger_holds ("key") WHERE state = 'held';
CREATE INDEX open_holds_of_scope ON ledger_holds (scope, state);
COMMIT;
