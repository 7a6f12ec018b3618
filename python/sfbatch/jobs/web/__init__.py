"""The pages for people: jobs, one job, clusters. Server-rendered; nothing comes from another host, nothing is inline.

Names, arguments and logs are anybody's text: Jinja escapes all of it, and a strict policy (CSP) stands behind that.
"""
