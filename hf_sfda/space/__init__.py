"""The Space: a web page and an API for hf_sfda, made with gradio.

Importing this package loads no heavy library; gradio is imported with :mod:`hf_sfda.space.app`.
"""
