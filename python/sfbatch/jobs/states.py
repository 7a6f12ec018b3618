"""The states a job can be in: Genie's names and no others, since its clients take any other for "finished and failed".

ACCEPTED  in the queue                    (durable; its directory holds the attachments)
INIT      claimed by a server, starting   (cluster and command are chosen)
RUNNING   its process runs, or is being killed
SUCCEEDED, FAILED, KILLED, INVALID        the end; nothing changes any more
"""

ACCEPTED, INIT, RUNNING = "ACCEPTED", "INIT", "RUNNING"
SUCCEEDED, FAILED, KILLED, INVALID = "SUCCEEDED", "FAILED", "KILLED", "INVALID"

CLAIMED = (INIT, RUNNING)
UNFINISHED = (ACCEPTED, *CLAIMED)
FINAL = (SUCCEEDED, FAILED, KILLED, INVALID)
# Genie 4's further names are accepted as filters; no job of ours is ever in them.
KNOWN = (*UNFINISHED, *FINAL, "RESERVED", "RESOLVED", "CLAIMED")

MSG_QUEUED = "Job Accepted and in initialization phase."
MSG_RUNNING = "Job is Running."
MSG_SUCCEEDED = "Job finished successfully."
MSG_FAILED = "Job failed."
MSG_KILLED = "Job was killed by user."
MSG_TIMEOUT = "Job exceeded timeout."
MSG_STDOUT = "Std out length exceeded."
MSG_STDERR = "Std err length exceeded."
MSG_NOT_STARTED = "Job initialization failed, further details available in the job output directory"
MSG_RETRY = "Attempt {} of {}: {} The next one begins in {} s."
MSG_CANCELLED = "Job was cancelled on its cluster, not by this server."
MSG_INTERRUPTED = "Job was interrupted: its cluster ended before it did."
MSG_LOST = "Job was lost: the process that watched it is gone (killed, or the machine restarted)."
MSG_EMPTIED = "Job was lost: the files that tell how it is were deleted from its directory."
MSG_NO_MATCH = "No cluster/command combination found for the given criteria. Unable to continue"

EXIT_KILLED, EXIT_LOST = 999, 666
