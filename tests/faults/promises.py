"""A hundred lines that each keep a promise, with what breaks them: for ``python -m tests.faults.mutants``.

``line`` is the text of one line, which its file holds exactly once; ``broken`` takes its place. ``tests`` are
those of its room, the quickest first.
"""

from __future__ import annotations

from typing import NamedTuple


class Promise(NamedTuple):
    """One line of *file* that keeps a promise, what takes its place, and the *tests* that should notice."""

    file: str
    line: str
    broken: str
    tests: tuple[str, ...]


def _of(file: str, tests: str, *lines: tuple[str, str]) -> list[Promise]:
    return [Promise(file, line, broken, tuple(tests.split())) for line, broken in lines]


PROMISES: list[Promise] = [
    # -- files, journals, checkpoints ----------------------------------------------------------------
    *_of(
        "tracker/files.py",
        "tests/tracker/test_synced_writes.py tests/tracker/test_files.py",
        ("os.fsync(file.fileno())", "pass"),
        ("sync_folder(path.parent)", "pass"),
        ("remove_leftovers(path.parent)", "pass"),
        ("temporary.unlink(missing_ok=True)", "pass"),
        ("path = Path(os.path.realpath(path))", "path = Path(os.path.abspath(path))"),
        ("if error.errno in _FULL:", "if error.errno is None:"),
        (
            "mode = 0o600 if private else stat.S_IMODE(path.stat().st_mode) if path.exists() else None",
            "mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None",
        ),
    ),
    *_of(
        "tracker/files.py",
        "tests/tracker/export/test_config.py",
        (
            'style = \'"\' if re.search("[\\x85\\u2028\\u2029\\ufeff]", text) else None',
            "style = None",
        ),
    ),
    *_of(
        "tracker/store/journal.py",
        "tests/tracker/test_synced_writes.py tests/tracker/store/test_journal.py",
        ("os.ftruncate(self._descriptor, before)", "pass"),
        ("os.ftruncate(descriptor, whole)", "pass"),
        ('steps = {n: step for n, step in steps.items() if n <= event["step"]}', "steps = {}"),
        (
            'self._write(line, sync or event.get("event") in TERMINAL_EVENTS)',
            "self._write(line, sync)",
        ),
        ("sync_folder(self.path.parent)", "pass"),
        ('if not line.endswith(b"\\n"):', "if not line:"),
        (
            'line = json.dumps(event, separators=(",", ":"), allow_nan=False).encode() + b"\\n"',
            'line = json.dumps(event, separators=(",", ":")).encode() + b"\\n"',
        ),
    ),
    *_of(
        "sweeps/finetune/checkpoint.py",
        "tests/sweeps/finetune/test_checkpoint.py tests/sweeps/finetune/test_tampered_checkpoints.py",
        ("for path in reversed(_checkpoints(root)):", "for path in _checkpoints(root):"),
        ("path.rename(quarantine)", "return path"),
        (
            'if (manifest["trial"], manifest["step"]) != (trial, step):',
            'if manifest["trial"] != trial:',
        ),
        (
            "if not files or present != files.keys() or not files.keys() >= set(needed):",
            "if not files or not files.keys() >= set(needed):",
        ),
        ("and (file_digest(path / name) == facts or _facts(path / name) == facts)", "and True"),
        ("for old in _checkpoints(root)[:-_KEEP]:", "for old in _checkpoints(root)[:0]:"),
    ),
    *_of(
        "sweeps/baselines/untouched.py",
        "tests/sweeps/finetune/test_trial.py",
        ('if content["digest"] != _digest(content["suites"]):', "if False:"),
    ),
    # -- workers and engine --------------------------------------------------------------------------
    *_of(
        "sweeps/search/worker.py",
        "tests/sweeps/search/test_worker.py tests/sweeps/finetune/test_disk_refusal.py",
        ("sys.exit(1)", "raise"),
        (
            "with contextlib.suppress(EOFError, ConnectionError):",
            "with contextlib.suppress(EOFError):",
        ),
        ("except (InputError, StoreError) as error:", "except InputError as error:"),
    ),
    *_of(
        "sweeps/search/engines/local.py",
        "tests/sweeps/search/engines/test_engine_contract.py",
        (
            "mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})",
            "mask = signal.pthread_sigmask(signal.SIG_BLOCK, set())",
        ),
        ("if slot.job is not None and slot.job.key == key:", "if False:"),
    ),
    *_of(
        "sweeps/search/run.py",
        "tests/sweeps/search/test_run.py",
        (
            "self.arrived = Terminated if number == signal.SIGTERM else KeyboardInterrupt",
            "raise Terminated if number == signal.SIGTERM else KeyboardInterrupt",
        ),
    ),
    *_of(
        "sweeps/search/identity.py",
        "tests/sweeps/search/test_run.py",
        ("if wrong:", "if False:"),
    ),
    # -- study, lease, retention, outbox -------------------------------------------------------------
    *_of(
        "sweeps/search/lease.py",
        "tests/sweeps/search/test_lease.py",
        ("if fence != self.fence:", "if False:"),
        ("self.fence = row.fence + 1", "self.fence = row.fence"),
        ("connection.execute(change.values(until=None))", "pass"),
        (
            "if row.until is None or owner.file != me.file or owner.is_dead:",
            "if row.until is None or owner.file != me.file:",
        ),
        ("return self._has_clock_of(owner) and now >= row.until", "return True"),
        ('values = {"beat": _TABLE.c.beat + 1, "until": until}', 'values = {"until": until}'),
    ),
    *_of(
        "sweeps/search/retention.py",
        "tests/sweeps/search/test_retention.py",
        ("if not values or not keeps(name, fmean(values), limit):", "if not values:"),
        (
            "outdone = sorted(every - kept - self._outdone)",
            "outdone = sorted(every - self._outdone)",
        ),
    ),
    *_of(
        "sweeps/search/outbox.py",
        "tests/sweeps/search/test_outbox.py",
        (
            "refused = isinstance(error, RefusedError) or not isinstance(error, StoreError)",
            "refused = False",
        ),
        ("pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)", "return"),
        ("self._read_ids |= {request.id for request in new}", "pass"),
        ('sent["seen_at"] = round(time.time())', "pass"),
    ),
    *_of(
        "sweeps/search/driver.py",
        "tests/sweeps/search/test_driver.py tests/sweeps/search/test_control.py",
        ("self._keys.add(key)", "pass"),
        ("while self._queue and len(self.running) < self.engine.slots:", "while self._queue:"),
        (
            "if ended is not None:  # the worker died after it wrote the result, before it said so",
            "if False:",
        ),
    ),
    *_of(
        "sweeps/search/space.py",
        "tests/sweeps/search/test_space.py tests/sweeps/search/test_driver.py",
        ("seed=spec.first_seed + seed,", "seed=seed,"),
        ("replay=sweep.replay if mix.replay else None,", "replay=sweep.replay,"),
        (
            "return min(volumes, key=lambda v: (abs(math.log(v / wanted)), v))",
            "return min(volumes, key=lambda v: (abs(v - wanted), v))",
        ),
    ),
    # -- data: splits, order, masks ------------------------------------------------------------------
    *_of(
        "sweeps/data/mixes.py",
        "tests/sweeps/data/test_mixes.py",
        (
            "order = np.random.default_rng([spec.seed, number]).permutation(len(current))",
            "order = np.random.default_rng([spec.seed]).permutation(len(current))",
        ),
        (
            "for task in by_remainder[: volume - sum(counts.values())]:",
            "for task in by_remainder[:0]:",
        ),
        (
            "passes = {task: epochs + spec.mix.extra_epochs.get(task, 0) for task in spec.examples}",
            "passes = {task: epochs for task in spec.examples}",
        ),
        (
            "taken = (replay[(number * extra + i) % len(replay)] for i in range(extra))",
            "taken = (replay[i % len(replay)] for i in range(extra))",
        ),
        ("for index in nested[task][:count]", "for index in nested[task]"),
        (
            "return max(1, round(mix.replay * volume)) if mix.replay else 0",
            "return round(mix.replay * volume) if mix.replay else 0",
        ),
    ),
    *_of(
        "sweeps/data/encoding.py",
        "tests/sweeps/data/test_encoding.py",
        ("chosen = _nested_rows(file, task, EVALUATION_SEED)[:limit]", "chosen = chosen[:limit]"),
        (
            "return frozenset(labels | ({task.negative.strip()} if task.negative else set()))",
            "return frozenset(labels | ({task.negative} if task.negative else set()))",
        ),
        (
            "order = np.random.default_rng(EVALUATION_SEED).permutation(len(texts))",
            "order = np.random.default_rng().permutation(len(texts))",
        ),
    ),
    # -- training and evaluation ---------------------------------------------------------------------
    *_of(
        "sweeps/finetune/batch.py",
        "tests/sweeps/finetune/test_batch.py",
        (
            "return [IGNORED] * len(row.prompt_ids) + list(row.answer_ids)",
            "return [*row.prompt_ids, *row.answer_ids]",
        ),
        (
            "labels = [[*_labels(r), *[IGNORED] * p] for r, p in zip(rows, padding, strict=True)]",
            "labels = [[*_labels(r), *[pad_id] * p] for r, p in zip(rows, padding, strict=True)]",
        ),
        (
            "positions = [range(len(row)) for row in rows]",
            "positions = [range(sum(map(len, rows)))[: len(row)] for row in rows[:0]] + "
            "[range(k, k + len(r)) for k, r in enumerate(rows)]",
        ),
        (
            "predicting = functional.pad(answers[:, 1:], (prepended, 1)).flatten().nonzero().flatten()",
            "predicting = functional.pad(answers, (prepended, 0)).flatten().nonzero().flatten()",
        ),
        (
            "mask = [[1] * len(row) + [0] * p for row, p in zip(rows, padding, strict=True)]",
            "mask = [[1] * (len(row) + p) for row, p in zip(rows, padding, strict=True)]",
        ),
    ),
    *_of(
        "sweeps/finetune/divergence.py",
        "tests/sweeps/finetune/test_divergence.py",
        ("limit = max(rule.factor * start, start + _ABOVE_NATS)", "limit = rule.factor * start"),
        ("if step - below < rule.span:", "if step - below < 1:"),
        ("below = max(step, rule.warmup)", "below = step"),
        ("span=max(math.ceil(_SHARE * steps), _FEWEST_STEPS),", "span=math.ceil(_SHARE * steps),"),
    ),
    *_of(
        "sweeps/finetune/train.py",
        "tests/sweeps/finetune/test_train.py tests/sweeps/finetune/test_tampered_checkpoints.py",
        (
            "return SequentialSampler(train_dataset or self.train_dataset)",
            "return torch.utils.data.RandomSampler(train_dataset or self.train_dataset)",
        ),
        ("self._save_rng_state(str(folder))", "pass"),
        ("if not math.isfinite(self.last_loss):", "if False:"),
        (
            "return math.ceil(math.ceil(rows / spec.schedule.batch_size) / spec.schedule.accumulation)",
            "return math.ceil(rows / spec.schedule.batch_size) // spec.schedule.accumulation",
        ),
    ),
    *_of(
        "sweeps/finetune/trial.py",
        "tests/sweeps/finetune/test_disk_refusal.py tests/sweeps/finetune/test_trial.py",
        ("if problem := disk_refusal(error):", "if problem := None:"),
        (
            "rows = self.counter.steps * spec.schedule.batch_size * spec.schedule.accumulation",
            "rows = self.counter.steps * spec.schedule.batch_size",
        ),
    ),
    # -- scores --------------------------------------------------------------------------------------
    *_of(
        "sweeps/scores/task_scores.py",
        "tests/sweeps/scores/test_scores.py",
        (
            "negatives = [g for g, t in zip(given, truth, strict=True) if _is_negative(task, t)]",
            "negatives = list(given)",
        ),
        ("return answer in labels", "return True"),
        ("bits = answers.nats / math.log(2)", "bits = answers.nats"),
    ),
    *_of(
        "sweeps/scores/overlap.py",
        "tests/sweeps/scores/test_scores.py",
        ("if not shared:", "if False:"),
    ),
    *_of(
        "sweeps/scores/labels.py",
        "tests/sweeps/scores/test_scores.py",
        (
            "means = (f1 * present).sum(axis=1) / np.maximum(due, 1)",
            "means = f1.mean(axis=1)",
        ),
    ),
    *_of(
        "sweeps/scores/bootstrap.py",
        "tests/tracker/test_forgetting_error.py tests/sweeps/scores/test_scores.py",
        (
            'digest = hashlib.sha256(f"{name}:{rows}".encode()).digest()',
            'digest = hashlib.sha256(f"{id(object())}{name}:{rows}".encode()).digest()',
        ),
        ("return float(replicates.std()) if rows > 1 else None", "return float(replicates.std())"),
    ),
    # -- numbers: metrics, constraints, posterior ----------------------------------------------------
    *_of(
        "tracker/metrics.py",
        "tests/tracker/test_metrics.py tests/tracker/test_results.py",
        (
            'return next((s for s in run.tasks if s.task == task and s.split == "validation"), None)',
            "return next((s for s in run.tasks if s.task == task), None)",
        ),
        ("return math.hypot(*parts)", "return sum(parts)"),
        (
            "low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])",
            "low, high = np.quantile(draws, [1 - level, level])",
        ),
        ('return float(f"{value:.6g}")', "return value"),
        (
            "return min(low, max(value, least)), max(high, min(value, most))",
            "return value - Z * error, value + Z * error",
        ),
    ),
    *_of(
        "tracker/constraints.py",
        "tests/tracker/test_constraints.py",
        ("slack = 1e-9 * abs(limit)", "slack = 0.0"),
        (
            "broken = [i for i, v in enumerate(values) if v is None or not keeps(name, v, limit)]",
            "broken = [i for i, v in enumerate(values) if v is not None and not keeps(name, v, limit)]",
        ),
        (
            "if not keeps(name, times * value if grows(name) else value, limit):",
            "if not keeps(name, value, limit):",
        ),
        ("side = -1 if is_lower(name) else 1", "side = 1"),
        ('if kind in ("over_reach", *SHARES) and not 0 <= bound <= 1:', "if False:"),
    ),
    *_of(
        "tracker/decision/posterior.py",
        "tests/tracker/decision/test_posterior_draws.py",
        (
            "return np.asarray((best / best.sum(axis=1, keepdims=True)).mean(axis=0))",
            "return np.asarray(best.mean(axis=0))",
        ),
        (
            "return low is not None and low > self.within_noise",
            "return low is not None and low > 0",
        ),
        (
            "low, high = interval(self.draws[:, index] - self.draws[:, other])",
            "low, high = interval(self.draws[:, index] - self.draws[::-1, other])",
        ),
    ),
    *_of(
        "tracker/decision/pareto.py",
        "tests/tracker/decision/test_pareto.py",
        (
            "compared = np.asarray(np.isfinite(losses).all(axis=1), dtype=bool)",
            "compared = np.ones(len(losses), dtype=bool)",
        ),
        (
            "bool(((points <= point).all(axis=1) & (points < point).any(axis=1)).any())",
            "bool((points < point).all(axis=1).any())",
        ),
    ),
    *_of(
        "tracker/decision/noise.py",
        "tests/tracker/decision/test_noise.py",
        (
            "degrees[method] = degrees.get(method, 0) + len(v) - 1",
            "degrees[method] = degrees.get(method, 0) + len(v)",
        ),
        (
            'return np.random.default_rng(zlib.crc32("|".join(map(str, content)).encode()))',
            "return np.random.default_rng()",
        ),
    ),
    # -- files that hand over ------------------------------------------------------------------------
    *_of(
        "tracker/export/config.py",
        "tests/tracker/export/test_config.py",
        (
            'if named.get("digest") != evidence.get("digest") or named.get("digest") not in written:',
            "if False:",
        ),
        (
            "if self.recommendation is not None and self.recommendation.trial != self.trial:",
            "if False:",
        ),
        (
            "if not isinstance(name, str) or Path(name).name != name:",
            "if not isinstance(name, str):",
        ),
        ("if value not in _READ:", "if False:"),
        ("if answer.trial.origin is not None:", "if False:"),
    ),
    *_of(
        "tracker/strict_yaml.py",
        "tests/tracker/test_strict_yaml.py",
        ("elif key in mapping:", "elif False:"),
        ("if isinstance(event, yaml.AliasEvent):", "if False:"),
        ("if self.depth > MAX_DEPTH:", "if False:"),
        ("if values > MAX_VALUES:", "if False:"),
        ("if len(text) > MAX_BYTES:", "if False:"),
    ),
    # -- the server ----------------------------------------------------------------------------------
    *_of(
        "dashboards/security.py",
        "tests/dashboards/test_security.py tests/faults/test_hostile_requests.py",
        ("if not access.serves(request.host):", "if False:"),
        ("if origin is not None and _netloc(origin) != request.host:", "if False:"),
        ("if _is_of_another_site():", "if False:"),
        ('response.headers["X-Content-Type-Options"] = "nosniff"', "pass"),
        ("\"frame-ancestors 'none'\",", ""),
        ('if "Upgrade" in request.headers:', "if False:"),
    ),
    *_of(
        "dashboards/access.py",
        "tests/dashboards/test_access.py",
        ("if path.stat().st_mode & 0o077:", "if False:"),
        (
            'write_atomically(path, token + "\\n", private=True, exclusive=True)',
            'write_atomically(path, token + "\\n", exclusive=True)',
        ),
        ('path = "/" + request.path.lstrip("/\\\\")  # never //elsewhere', "path = request.path"),
        (
            'access.cookie, access.token or "", max_age=_WEEK, httponly=True, samesite="Strict"',
            'access.cookie, access.token or "", max_age=_WEEK, httponly=True, samesite="Lax"',
        ),
        (
            'rest = [(k, v) for k, v in request.args.items(multi=True) if k != "token"]',
            "rest = list(request.args.items(multi=True))",
        ),
        ("if host in LOOPBACK and not names:", "if not names:"),
    ),
]
