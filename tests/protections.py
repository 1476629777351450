"""Each protection that docs/reliability.md and docs/security.md promise, how to take it out, and a test that fails without it.

``tests/unprotected.py`` takes them out one at a time. Where code changes, change its entry here too: ``make test`` says which.
"""

from dataclasses import dataclass
from typing import Final

_ARTIFACTS: Final = "tests/harness/test_artifacts.py::"
_FAULTS: Final = "tests/harness/test_faults.py::"
_JOURNAL: Final = "tests/harness/test_journal.py::"
_SERVED: Final = "tests/harness/test_served.py::"
_PAIRS: Final = "tests/retmask/test_pairs.py::"
_RUNS: Final = "tests/harness/test_runs_cli.py::"
_REPRODUCE: Final = "tests/harness/test_reproduce.py::"
_MODELS: Final = "tests/harness/test_models.py::"
_DATA: Final = "tests/harness/test_data.py::"
_SAFE: Final = "tests/reports/test_safe.py::"
_BESIDE: Final = "tests/reports/test_beside.py::"
_TERMINAL: Final = "tests/harness/test_terminal.py::"
_KILLED: Final = _ARTIFACTS + "test_killed_before_any_line_a_step_goes_on_and_nothing_is_half_done"
_SYNCED: Final = _ARTIFACTS + "test_everything_is_on_the_disk_before_a_step_has_its_name"


@dataclass(frozen=True)
class Protection:
    """One protection, and the test that fails without it."""

    promise: str
    """How its row in docs/reliability.md or docs/security.md begins."""
    what: str
    file: str
    old: str
    """In the file exactly once."""
    new: str
    test: str
    """As pytest calls it."""


def _protections(promise: str, *entries: tuple[str, str, str, str, str]) -> tuple[Protection, ...]:
    return tuple(Protection(promise, *entry) for entry in entries)


PROTECTIONS: Final = (
    *_protections(
        "kill -9 at any moment",
        (
            "an unfinished step is gone on from",
            "harness/artifacts.py",
            "        work.mkdir(exist_ok=True)\n        sync_folder(self._steps)\n",
            "        shutil.rmtree(work, ignore_errors=True)\n        work.mkdir()\n        sync_folder(self._steps)\n",
            _KILLED,
        ),
        (
            "a step has its name only when its manifest is there",
            "harness/artifacts.py",
            "        seal(work, {",
            "        os.rename(work, address.final)\n        work = address.final\n        seal(work, {",
            _KILLED,
        ),
        (
            "a manifest is replaced in one go",
            "harness/artifacts.py",
            '    temporary = path.with_name(f".{path.name}.{os.getpid()}")\n',
            "    temporary = path\n",
            _KILLED,
        ),
        (
            "what a crash just before the renaming left is cleared",
            "harness/artifacts.py",
            "                leftover.unlink(missing_ok=True)\n",
            "                pass\n",
            _KILLED,
        ),
        (
            "answers are written down before the next batch",
            "harness/engines/lm.py",
            "for answers in self._backend.generate(longest_first, self.batch):",
            "for answers in list(self._backend.generate(longest_first, self.batch)):",
            _FAULTS + "test_an_engine_that_dies_leaves_what_was_finished",
        ),
        (
            "pairs: answers are written down before the next batch",
            "retmask/sampler.py",
            "            append_responses(journal, fresh)\n",
            "",
            _PAIRS + "test_an_interrupted_run_goes_on_where_it_was",
        ),
    ),
    *_protections(
        "a power failure",
        (
            "a record is synced",
            "harness/journal.py",
            "        file.flush()\n        os.fsync(file.fileno())\n",
            "        file.flush()\n",
            _SYNCED,
        ),
        (
            "a new journal's name is synced",
            "harness/journal.py",
            "    if new:\n",
            "    if False:\n",
            _SYNCED,
        ),
        (
            "a step's files are synced",
            "harness/artifacts.py",
            '    with path.open("rb") as file:\n        os.fsync(file.fileno())\n',
            "",
            _SYNCED,
        ),
        (
            "a step's inner folders are synced",
            "harness/artifacts.py",
            "        sync_folder(inner)\n",
            "        pass\n",
            _SYNCED,
        ),
        (
            "a manifest is synced before it gets its name",
            "harness/artifacts.py",
            "        file.flush()\n        os.fsync(file.fileno())\n    os.replace",
            "        file.flush()\n    os.replace",
            _SYNCED,
        ),
        (
            "a manifest's name is synced",
            "harness/artifacts.py",
            "    os.replace(temporary, path)\n    sync_folder(path.parent)\n",
            "    os.replace(temporary, path)\n",
            _SYNCED,
        ),
        (
            "the renaming of a step is synced",
            "harness/artifacts.py",
            "        os.rename(work, address.final)\n        sync_folder(self._steps)\n",
            "        os.rename(work, address.final)\n",
            _SYNCED,
        ),
    ),
    *_protections(
        "a torn last record",
        (
            "half a line is not read",
            "harness/journal.py",
            '                if not line.endswith(b"\\n"):\n                    break\n',
            "",
            _JOURNAL + "test_a_torn_last_record_is_dropped_and_written_again",
        ),
        (
            "half a line is cut away",
            "harness/journal.py",
            "        os.truncate(path, found.end)\n",
            "        pass\n",
            _JOURNAL + "test_a_torn_last_record_is_dropped_and_written_again",
        ),
        (
            "a record has to match its checksum",
            "harness/journal.py",
            '    if not tab or checksum != b"%08x" % zlib.crc32(text[:-1]):\n',
            "    if not tab:\n",
            _JOURNAL + "test_a_flipped_bit_costs_its_own_record_and_no_other",
        ),
        (
            "damaged records are told",
            "harness/evaluate.py",
            "    if journal.damaged:\n",
            "    if False:\n",
            _FAULTS + "test_a_damaged_record_of_an_unfinished_journal_costs_itself_alone",
        ),
        (
            "pairs: half a line is cut away",
            "retmask/responses.py",
            "    cut_torn(journal, found)\n",
            "",
            _PAIRS + "test_an_interrupted_run_goes_on_where_it_was",
        ),
        (
            "pairs: damaged records are told",
            "retmask/responses.py",
            "    if found.damaged:\n",
            "    if False:\n",
            _PAIRS + "test_a_damaged_response_costs_itself_alone",
        ),
    ),
    *_protections(
        "the key is independent",
        (
            "the size of batches has no part in the key",
            "harness/engines/__init__.py",
            '"think_tokens": self.think_tokens}\n',
            '"think_tokens": self.think_tokens, "batch_tokens": self.batch_tokens}\n',
            _FAULTS + "test_an_engine_that_dies_leaves_what_was_finished",
        ),
        (
            "the number format has",
            "harness/engines/__init__.py",
            '"dtype": self.dtype, ',
            "",
            _FAULTS + "test_another_model_or_wording_takes_nothing_over",
        ),
        (
            "answers to the same prompts are taken over",
            "harness/engines/lm.py",
            "        self._take_over(asked)\n",
            "",
            _FAULTS + "test_a_shorter_evaluation_goes_on_from_one_that_did_not_fit",
        ),
        (
            "answers to other prompts are not",
            "harness/engines/lm.py",
            "    return digest([str(request.args[0]), *",
            "    return digest([*",
            _FAULTS + "test_another_model_or_wording_takes_nothing_over",
        ),
    ),
    *_protections(
        "memory that runs out",
        (
            "a batch that does not fit is halved",
            "harness/engines/hf.py",
            "                if len(rows) > 1:\n",
            "                if False:\n",
            _FAULTS + "test_a_batch_that_does_not_fit_is_halved[cuda]",
        ),
        (
            "the CPU allocator's words are known",
            "harness/engines/memory.py",
            '("out of memory", "defaultcpuallocator")',
            '("out of memory",)',
            _FAULTS + "test_a_batch_that_does_not_fit_is_halved[cpu]",
        ),
        (
            "Python's own MemoryError is known",
            "harness/engines/memory.py",
            "isinstance(error, MemoryError) or ",
            "",
            _FAULTS + "test_a_batch_that_does_not_fit_is_halved[python]",
        ),
        (
            "any other error is none of memory",
            "harness/engines/hf.py",
            "            if not is_out_of_memory(error):\n                raise\n",
            "",
            _FAULTS + "test_an_engine_that_dies_leaves_what_was_finished",
        ),
        (
            "examples that fail alone are named, and nothing is scored",
            "harness/evaluate.py",
            "            lm.check_complete()\n",
            "",
            _FAULTS + "test_an_example_that_does_not_fit_alone_is_named_and_all_others_are_kept",
        ),
        (
            "exit code 3",
            "harness/api.py",
            "    exit_code = 3\n",
            "    exit_code = 2\n",
            _FAULTS + "test_an_example_that_does_not_fit_alone_is_named_and_all_others_are_kept",
        ),
        (
            "pairs: a batch that does not fit is halved",
            "retmask/sampler.py",
            "            if len(batch) > 1:\n",
            "            if False:\n",
            _PAIRS + "test_a_batch_that_does_not_fit_is_halved",
        ),
        (
            "pairs: prompts that fail alone are named",
            "retmask/responses.py",
            "    raise IncompleteError(\n",
            "    raise ValueError(\n",
            _PAIRS + "test_a_prompt_that_does_not_fit_alone_is_named_and_all_others_are_kept",
        ),
    ),
    *_protections(
        "an engine that dies",
        (
            "a dead vLLM engine is one line",
            "harness/engines/vllm.py",
            "        if type(error).__name__ != _DEAD:\n            raise\n",
            "        raise\n",
            _FAULTS + "test_a_dead_vllm_engine_is_one_line",
        ),
        (
            "what may pass is sent again",
            "harness/engines/served.py",
            "_ATTEMPTS: Final = 5\n",
            "_ATTEMPTS: Final = 1\n",
            _SERVED + "test_faults_that_pass_are_sent_again",
        ),
        (
            "a refusal is not",
            "harness/engines/served.py",
            '            raise HarnessError(f"{self.url}{path} refused',
            '            raise _PassingError(f"{self.url}{path} refused',
            _SERVED + "test_a_refusal_is_not_repeated",
        ),
        (
            "a server that stalls is left",
            "harness/engines/served.py",
            "timeout=timeouts, ",
            "timeout=None, ",
            _SERVED + "test_a_server_that_says_nothing_is_left",
        ),
        (
            "a server that trickles is left",
            "harness/engines/served.py",
            "        if time.monotonic() > deadline:\n",
            "        if False:\n",
            _SERVED + "test_an_answer_that_trickles_is_left",
        ),
        (
            "garbage is no answer",
            "harness/engines/served.py",
            "        except ValueError:\n            raise _PassingError",
            "        except KeyError:\n            raise _PassingError",
            _SERVED + "test_garbage_without_end_is_an_error[garbage-not JSON]",
        ),
        (
            "JSON that is no completion is no answer",
            "harness/engines/served.py",
            "        except (KeyError, IndexError, TypeError, AttributeError) as error:\n",
            "        except (KeyError, TypeError, AttributeError) as error:\n",
            _SERVED + "test_garbage_without_end_is_an_error[no choices-something else than a completion]",
        ),
        (
            "a server that cuts prompts is found out",
            "harness/engines/served.py",
            "isinstance(read, int) and read < len(prompt.ids):",
            "isinstance(read, int) and False:",
            _SERVED + "test_a_server_that_cuts_prompts_is_found_out",
        ),
    ),
    *_protections(
        "a full disk",
        (
            "a full disk is one line",
            "harness/cli.py",
            '            if ctx.params.get("debug") or error.errno not in _FULL:\n                raise\n',
            "            raise\n",
            _FAULTS + "test_a_full_disk_is_one_line_and_the_same_command_goes_on[900]",
        ),
        (
            "what a full disk tore off is cut away",
            "harness/journal.py",
            "        os.truncate(path, found.end)\n",
            "        pass\n",
            _FAULTS + "test_a_device_without_space_is_a_full_disk",
        ),
        (
            "a read-only directory is one line",
            "harness/artifacts.py",
            '        except OSError as error:\n            raise HarnessError(f"cannot write to',
            '        except ZeroDivisionError as error:\n            raise HarnessError(f"cannot write to',
            _ARTIFACTS + "test_an_output_folder_that_cannot_be_made_is_one_clear_line",
        ),
        (
            "a read-only steps folder is found at once",
            "harness/artifacts.py",
            "            probe.touch()\n            probe.unlink()\n",
            "",
            _FAULTS + "test_a_read_only_directory_is_one_line[steps]",
        ),
    ),
    *_protections(
        "truncated, flipped, emptied and deleted files",
        (
            "files are hashed",
            "harness/artifacts.py",
            '        return "" if file_digest(path) == entry["sha256"] else "does not match its checksum"\n',
            '        return ""\n',
            _ARTIFACTS + "test_a_damaged_artifact_is_named_put_aside_and_built_again[one bit flipped-file.txt]",
        ),
        (
            "sizes are compared",
            "harness/artifacts.py",
            '    if found.st_size != entry.get("bytes"):\n',
            "    if False:\n",
            _ARTIFACTS + "test_what_an_earlier_version_finished_is_still_used",
        ),
        (
            "missing files are missed",
            "harness/artifacts.py",
            '        return "is missing"\n',
            '        return ""\n',
            _ARTIFACTS + "test_a_damaged_artifact_is_named_put_aside_and_built_again[deleted-file.txt]",
        ),
        (
            "a manifest has to match its checksum",
            "harness/artifacts.py",
            '    if value.pop("checksum", None) != digest(value):\n',
            '    if value.pop("checksum", None) is None:\n',
            _ARTIFACTS + "test_every_bit_of_a_manifest_is_vouched_for",
        ),
        (
            "a damaged step is put aside",
            "harness/artifacts.py",
            "            self._put_aside(address)\n",
            "",
            _ARTIFACTS + "test_a_damaged_artifact_is_named_put_aside_and_built_again[one bit flipped-file.txt]",
        ),
        (
            "its journals are gone on from",
            "harness/artifacts.py",
            "            shutil.copyfile(journal, address.work / journal.name)\n",
            "            pass\n",
            _ARTIFACTS + "test_a_rebuilt_step_starts_from_nothing_but_its_journals",
        ),
        (
            "a comparison refuses a damaged step",
            "harness/evaluations.py",
            "            check(folder)\n",
            "            pass\n",
            _FAULTS + "test_a_damaged_file_is_named_refused_and_made_again[eval-*/manifest.json-flipped]",
        ),
        (
            "a comparison refuses a damaged run manifest",
            "harness/evaluations.py",
            "    manifest = read_sealed(root / MANIFEST)\n",
            '    manifest = __import__("json").loads((root / MANIFEST).read_text(errors="replace"))\n',
            _FAULTS + "test_a_damaged_run_manifest_is_refused_and_written_again[flipped]",
        ),
        (
            "fetched files have to match the Hub's digests",
            "harness/hub.py",
            "        problem = mismatch(file, part)\n",
            "        problem = None\n",
            _DATA + "test_a_file_with_another_digest_is_thrown_away[False]",
        ),
    ),
    *_protections(
        "rotten weights",
        (
            "a trained model is distrusted before it is evaluated",
            "harness/pipeline.py",
            "            run.distrust(outcome.checkpoint)\n",
            "",
            _FAULTS + "test_damaged_weights_of_a_trained_model_are_never_evaluated",
        ),
        (
            "distrust hashes files however large",
            "harness/artifacts.py",
            "            check(step, thorough=True)\n",
            "            check(step)\n",
            _ARTIFACTS + "test_rotten_weights_are_found_before_they_are_used",
        ),
        (
            "large files are hashed when touched",
            "harness/artifacts.py",
            ' and found.st_mtime_ns == entry.get("modified")):',
            "):",
            _ARTIFACTS + "test_large_files_are_hashed_when_touched_and_when_asked",
        ),
    ),
    *_protections(
        "a clock that goes backwards",
        (
            "steps are timed by a clock that cannot",
            "harness/artifacts.py",
            "        started = time.monotonic()\n        facts = build(work)\n        seconds = time.monotonic() - started\n",
            "        started = time.time()\n        facts = build(work)\n        seconds = time.time() - started\n",
            _ARTIFACTS + "test_seconds_are_never_negative_whatever_the_clock_does",
        ),
        (
            "so are runs",
            "harness/pipeline.py",
            "        self.begun = time.time(), time.monotonic()\n",
            "        self.begun = time.monotonic(), time.time()\n",
            _FAULTS + "test_a_clock_that_goes_backwards",
        ),
    ),
    *_protections(
        "two commands on one directory",
        (
            "a step is locked while it is built",
            "harness/artifacts.py",
            "            fcntl.flock(file, how)\n        except BlockingIOError:\n",
            "            pass\n        except BlockingIOError:\n",
            _ARTIFACTS + "test_processes_that_want_one_step_build_it_once",
        ),
        (
            "who waited looks again before building",
            "harness/artifacts.py",
            "                return found\n            self._put_aside",
            "                pass\n            self._put_aside",
            _ARTIFACTS + "test_processes_that_want_one_step_build_it_once",
        ),
        (
            "a lock on a deleted file is no lock",
            "harness/artifacts.py",
            "            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:\n",
            "            if True:\n",
            _ARTIFACTS + "test_one_at_a_time_even_when_builds_fail",
        ),
        (
            "a killed holder frees its lock",
            "harness/artifacts.py",
            '        file = path.open("a")\n',
            '        if path.exists() and how & fcntl.LOCK_NB:\n            return None\n        file = path.open("a")\n',
            _ARTIFACTS + "test_a_lock_survives_neither_its_holder_nor_its_file",
        ),
        (
            "whoever waits is told",
            "harness/artifacts.py",
            "        waiting()\n",
            "",
            _ARTIFACTS + "test_whoever_waits_is_told",
        ),
        (
            "a file system without locks says so",
            "harness/artifacts.py",
            "            if error.errno not in NO_LOCKS:\n                raise\n",
            "            raise\n",
            _ARTIFACTS + "test_a_file_system_without_locks_is_one_line",
        ),
        (
            "a run's own files are written by one command at a time",
            "harness/artifacts.py",
            "        return locked(self.root / LOCK, lambda:",
            '        return locked(self.root / f"{LOCK}{os.getpid()}", lambda:',
            _ARTIFACTS + "test_one_command_at_a_time_writes_a_runs_own_files",
        ),
    ),
    *_protections(
        "`runs list`",
        (
            "verify and list name what is damaged",
            "harness/runs.py",
            '            state, problem = "damaged", str(error)\n',
            "            pass\n",
            _RUNS + "test_verify_names_what_is_damaged[a flipped bit]",
        ),
        (
            "verify misses steps that the manifest names",
            "harness/runs.py",
            "    problems += [f\"{root / 'steps' / f'{name}-{key[:12]}'} is missing\" for key, name in used.items() if key not in there]\n",
            "",
            _RUNS + "test_verify_misses_a_step_that_the_manifest_names",
        ),
        (
            "gc leaves what a process works on",
            "harness/runs.py",
            '        state = "under way" if is_held(path.with_suffix(LOCK)) else "unfinished"\n',
            '        state = "unfinished"\n',
            _RUNS + "test_gc_leaves_what_a_process_is_working_on",
        ),
        (
            "gc leaves what a process has begun to work on since it looked",
            "harness/sweep.py",
            "        if not free:\n            return False\n",
            "",
            _RUNS + "test_gc_leaves_what_a_process_has_taken_up_since_it_looked",
        ),
        (
            "gc deletes no finished step if nothing says what is needed",
            "harness/sweep.py",
            "    judged = (root / MANIFEST).exists() and not run.problems\n",
            "    judged = (root / MANIFEST).exists()\n",
            _RUNS + "test_gc_keeps_everything_finished_if_the_manifest_cannot_be_read",
        ),
    ),
    *_protections(
        "`gc` takes nothing from a command",
        (
            "a command holds its run directory",
            "harness/rundir.py",
            "        _lock(handle, fcntl.LOCK_SH, waiting)\n",
            "        pass\n",
            _RUNS + "test_gc_leaves_a_run_directory_that_a_command_uses",
        ),
        (
            "gc looks again when it deletes",
            "harness/sweep.py",
            "            if handle is None:\n                return []\n",
            "            if handle is None:\n                handle = os.open(self.root, os.O_RDONLY)\n",
            _RUNS + "test_gc_leaves_a_run_directory_that_a_command_uses",
        ),
        (
            "gc keeps commands out while it deletes",
            "harness/rundir.py",
            "            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
            "            pass\n",
            _RUNS + "test_a_command_that_begins_while_gc_deletes_waits",
        ),
        (
            "every command that has not finished is on record",
            "harness/begun.py",
            "        if path.lstat().st_mtime > oldest:\n            return _named(path)\n",
            "        pass\n",
            _RUNS + "test_gc_keeps_everything_for_a_command_that_has_not_finished",
        ),
        (
            "one that finishes does not finish another",
            "harness/begun.py",
            '    (root / FOLDER / f"{_BEGUN}{identity(about)}.json").unlink(missing_ok=True)\n',
            '    for each in (root / FOLDER).glob(f"{_BEGUN}*.json"):\n        each.unlink(missing_ok=True)\n',
            _RUNS + "test_gc_keeps_everything_for_a_command_that_has_not_finished",
        ),
        (
            "nor does an earlier version's",
            "harness/begun.py",
            "            return _named(root / COMMAND)\n",
            "            pass\n",
            _RUNS + "test_a_run_of_an_earlier_version_is_known_by_its_sealed_manifest",
        ),
    ),
    *_protections(
        "a page's files replace somebody's",
        (
            "a folder without our mark is refused",
            "reports/beside.py",
            '    raise NotOursError(f"{folder} is there and was not written by the harness")\n',
            "    return set(there)\n",
            "tests/harness/test_report_cli.py::test_a_folder_of_somebody_elses_is_neither_emptied_nor_written_to",
        ),
        (
            "a link is refused",
            "reports/beside.py",
            "    if folder.is_symlink() or not folder.is_dir():\n",
            "    if not folder.is_dir():\n",
            _BESIDE + "test_no_link_is_followed_and_no_name_leaves_the_folder",
        ),
        (
            "a mark names only what lies in its folder",
            "reports/beside.py",
            " if name in there and there[name].is_file(follow_symlinks=False)}",
            " if name}",
            _BESIDE + "test_no_link_is_followed_and_no_name_leaves_the_folder",
        ),
        (
            "nothing of somebody's is overwritten",
            "reports/beside.py",
            "            if name not in old and os.path.lexists(folder / name):\n",
            "            if False:\n",
            _BESIDE + "test_what_somebody_put_into_our_folder_stays",
        ),
        (
            "a page takes no other page's texts",
            "reports/page.js",
            "if (digest === data.digest) ",
            "",
            "tests/harness/test_report_cli.py::test_a_file_of_another_page_is_not_shown",
        ),
        (
            "a checkpoint with masked heads deletes nothing beside it",
            "retmask/ablate.py",
            "    path.parent.mkdir(parents=True, exist_ok=True)\n",
            '    import shutil\n    shutil.rmtree(f"{path}.partial", ignore_errors=True)\n',
            "tests/retmask/test_ablate.py::test_a_checkpoint_is_written_without_deleting_anything_beside_it",
        ),
    ),
    *_protections(
        "`gc` deletes something else",
        (
            "steps that is a link",
            "harness/sweep.py",
            "    if (root / STEPS).is_symlink():\n",
            "    if False:\n",
            _RUNS + "test_gc_follows_no_link_called_steps",
        ),
        (
            "steps that has become one",
            "harness/sweep.py",
            "os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle",
            "os.O_RDONLY | os.O_DIRECTORY, dir_fd=handle",
            _RUNS + "test_gc_follows_no_link_that_takes_the_place_of_steps_after_it_looked",
        ),
        (
            "a step that is a link",
            "harness/sweep.py",
            "        if step.path.is_symlink():\n",
            "        if False:\n",
            _RUNS + "test_gc_leaves_links_among_the_steps_and_what_they_lead_to",
        ),
        (
            "a folder without our mark",
            "harness/sweep.py",
            "    if not is_ours(root):\n",
            "    if False:\n",
            _RUNS + "test_gc_deletes_nothing_in_folders_called_steps_that_are_not_the_harness_s",
        ),
        (
            "a mark elsewhere",
            "harness/rundir.py",
            "            handle = os.open(MARK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)\n        finally:",
            "            handle = os.open(MARK, os.O_RDONLY | os.O_NONBLOCK, dir_fd=folder)\n        finally:",
            _RUNS + "test_a_mark_that_is_a_link_is_no_mark",
        ),
        (
            "a name that is no step's",
            "harness/sweep.py",
            "        elif not _NAME.fullmatch(step.path.name) or",
            "        elif",
            _RUNS + "test_gc_deletes_only_what_has_a_step_s_name",
        ),
        (
            "a step without a manifest",
            "harness/sweep.py",
            ' or (step.state in ("finished", "damaged") and not (step.path / MANIFEST).is_file())',
            "",
            _RUNS + "test_gc_deletes_only_what_has_a_step_s_name",
        ),
    ),
    *_protections(
        "the same seed",
        (
            "draws depend on the seed and the prompt alone",
            "retmask/sampler.py",
            '    return int.from_bytes(blake2b(text.encode(), digest_size=7).digest(), "big")\n',
            "    return torch.seed()\n",
            _PAIRS + "test_batch_size_has_no_part_in_what_is_drawn",
        ),
        (
            "samples that differ are exit code 1",
            "harness/reproduce.py",
            "        return all(then == now for _, then, now in self.digests)\n",
            "        return True\n",
            _REPRODUCE + "test_what_differs_is_counted_by_task",
        ),
        (
            "a model that has changed is refused",
            "harness/reproduce.py",
            '    if found.digest != model.get("digest"):\n',
            "    if False:\n",
            _REPRODUCE + "test_what_cannot_be_made_again_is_one_line[another model]",
        ),
    ),
    *_protections(
        "a checkpoint's pickle runs code",
        (
            "pickled weights are refused",
            "harness/models.py",
            "    if not _has_safetensors(path) and not (allow_unsafe_weights and weights):\n",
            "    if not weights:\n",
            _MODELS + "test_pickled_weights_are_refused_in_one_line_that_names_the_flag",
        ),
        (
            "other safetensors files beside them are no excuse",
            "harness/models.py",
            "    return any((path / name).is_file() for name in _LOADED)\n",
            "    return any(path.glob(_WEIGHTS))\n",
            _MODELS + "test_a_decoy_beside_pickled_weights_is_no_excuse",
        ),
        (
            "a pickle that would run something is one line",
            "harness/models.py",
            "LOAD_ERRORS: Final = (OSError, ValueError, RuntimeError, ImportError, UnpicklingError)\n",
            "LOAD_ERRORS: Final = (OSError, ValueError, RuntimeError, ImportError)\n",
            _MODELS + "test_even_with_the_flag_a_pickle_runs_nothing",
        ),
    ),
    *_protections(
        "a model brings Python files",
        (
            "a model's own code runs only when asked for",
            "harness/models.py",
            "allow_unsafe_weights, trust_remote_code), trust_remote_code)",
            "allow_unsafe_weights, trust_remote_code), True)",
            _MODELS + "test_a_models_code_runs_only_when_asked_for",
        ),
        (
            "every loading says whether it may run code",
            "retmask/model.py",
            "AutoTokenizer.from_pretrained(path, trust_remote_code=False)",
            "AutoTokenizer.from_pretrained(path)",
            "tests/test_architecture.py::test_a_models_own_code_is_off_or_asked_for[retmask/model.py]",
        ),
    ),
    *_protections(
        "a preset or a run's manifest asks for either",
        (
            "no preset asks for it",
            "harness/config.py",
            "    for name in _ASKED:\n        if name in settings:\n",
            "    for name in ():\n        if name in settings:\n",
            _MODELS + "test_no_preset_takes_a_risk_for_its_user[trust_remote_code]",
        ),
        (
            "no manifest asks for it",
            "harness/config.py",
            "if key in granted and table.get(key) is True}",
            "if table.get(key) is True}",
            _REPRODUCE + "test_a_manifest_cannot_ask_for_a_models_code_to_be_run",
        ),
    ),
    *_protections(
        "an archive writes outside its folder",
        (
            "paths in archives",
            "harness/fetch.py",
            '    if path.is_absolute() or ".." in path.parts or "\\\\" in member.name:\n',
            "    if False:\n",
            _DATA + "test_an_archive_that_leads_out_of_the_directory_is_refused[../evil]",
        ),
        (
            "links in archives",
            "harness/fetch.py",
            "tar.extractfile(member) if member.isreg() else None\n",
            "tar.extractfile(member)\n",
            _DATA + "test_an_archive_with_a_link_in_place_of_a_file_is_refused",
        ),
    ),
    *_protections(
        "a task or model name becomes a path",
        (
            "names of models",
            "reports/safe.py",
            '    return re.sub(r"[^\\w.-]+", "_", encodable(text)).lstrip(".")[:100] or "_"\n',
            "    return text\n",
            "tests/harness/test_imports.py::test_a_models_name_leads_nowhere",
        ),
    ),
    *_protections(
        "a model's output is HTML, or a script",
        (
            "HTML: titles",
            "reports/page.py",
            "title=escape(data.title)",
            "title=data.title",
            _SAFE + "test_a_page",
        ),
        (
            "HTML: names of methods",
            "reports/page.py",
            "        rows.append([escape(line.label) if",
            "        rows.append([line.label if",
            _SAFE + "test_a_page",
        ),
        (
            "HTML: settings",
            "reports/page.py",
            "<code>{escape(_text(value))}</code>",
            "<code>{_text(value)}</code>",
            _SAFE + "test_a_page",
        ),
        (
            "HTML: outputs inside a script",
            "reports/examples.py",
            'for character, escape in (("<", "\\\\u003c"), ',
            "for character, escape in (",
            "tests/reports/test_examples.py::test_no_text_can_end_its_script",
        ),
        (
            "HTML: the leaderboard",
            "reports/boardfiles.py",
            "(row.name, escape(row.name))",
            "(row.name, row.name)",
            _SAFE + "test_a_leaderboard",
        ),
    ),
    *_protections(
        "an output moves the cursor, or turns text around",
        (
            "terminal: lines",
            "harness/terminal.py",
            "    click.echo(visible(str(text)), err=err)\n",
            "    click.echo(str(text), err=err)\n",
            _TERMINAL + "test_lines",
        ),
        (
            "terminal: tables",
            "harness/terminal.py",
            "Segment(visible(segment.text), segment.style)",
            "segment",
            _TERMINAL + "test_tables_keep_their_own_colours_and_no_others",
        ),
        (
            "terminal: errors are one line",
            "harness/cli.py",
            '            echo(f"harness: {one_line(str(error))}", err=True)\n',
            '            echo(f"harness: {error}", err=True)\n',
            _TERMINAL + "test_an_error_is_one_line_whatever_is_in_it",
        ),
    ),
    *_protections(
        "a cell of a CSV is a formula",
        (
            "CSV: cells that start like a formula",
            "reports/tables.py",
            "        writer.writerow({key: safe.cell(value) if isinstance(value, str) else value for key, value in record.items()})\n",
            "        writer.writerow(record)\n",
            _SAFE + "test_a_spreadsheet",
        ),
        (
            "CSV: the leaderboard's",
            "reports/boardfiles.py",
            'writer.writerow([length, "run", cell(row.name),',
            'writer.writerow([length, "run", row.name,',
            _SAFE + "test_a_leaderboard",
        ),
    ),
    *_protections(
        "Markdown, LaTeX and JUnit files break",
        (
            "Markdown: a name ends no cell",
            "reports/safe.py",
            'for character in "\\\\|*_`[]~#"}',
            'for character in "\\\\*_`[]~#"}',
            _SAFE + "test_markdown_stays_in_its_cell",
        ),
        (
            "LaTeX: a name is no command",
            "reports/safe.py",
            "    return encodable(bare).translate(_TEX)\n",
            "    return encodable(bare)\n",
            _SAFE + "test_latex",
        ),
        (
            "JUnit: characters that XML has not got",
            "reports/safe.py",
            '    return _NOT_XML.sub("\\ufffd", text)\n',
            "    return text\n",
            _SAFE + "test_a_check",
        ),
    ),
    *_protections(
        "a file becomes code",
        (
            "JSON is parsed, not evaluated",
            "harness/journal.py",
            "= json.loads(text)\n",
            "= eval(text)\n",
            "tests/test_architecture.py::test_no_file_becomes_code[harness/journal.py]",
        ),
    ),
    *_protections(
        "a parser crashes, or never ends",
        (
            "deep nesting is a damaged manifest",
            "harness/artifacts.py",
            "    except (OSError, ValueError, RecursionError) as error:\n",
            "    except (OSError, ValueError) as error:\n",
            "tests/fuzz/test_files.py::test_manifests",
        ),
    ),
    *_protections(
        "lm-eval tasks run what a model writes",
        (
            "tasks that run code are refused",
            "harness/extra.py",
            '        if task.get("unsafe_code"):\n',
            "        if False:\n",
            "tests/harness/test_extra.py::test_what_cannot_be_asked_is_one_line[humaneval-more5-runs the code that a model writes]",
        ),
    ),
    *_protections(
        "HELMET's prompts live in its Python files",
        (
            "they are parsed, not run",
            "tasks/helmet/checkout.py",
            "        tree = ast.parse(code)\n",
            "        tree = ast.parse(code)\n        exec(code, {})\n",
            "tests/tasks/helmet/test_wordings.py::test_a_checkout_is_read_without_being_run",
        ),
    ),
)
