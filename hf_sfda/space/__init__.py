"""The Space: a thin face over hf_sfda, served by gradio.

Importing this loads nothing heavy; gradio is loaded by :func:`hf_sfda.space.app.make_app`.
"""
